// The page of geoseg.refine: shows scenes and maps, and sends what is drawn to the server, which
// keeps it. Coordinates are pixels of the scene: x to the right, y (negative) down.
"use strict";

const $ = (id) => document.getElementById(id);
const TITLES = { image: "Image", map: "Map, corrected", predicted: "Map as predicted" };
const OPEN = { image: [true, 1], map: [true, 0.55] };  // shown at first, and opacity
const INK = "#11181d";

let info, state, scene;
let chosen = 0;  // class
let tool = "Point";
let shown = 0;  // version of the state that is shown
let at = -1;  // suggestion
let suggestions = [];
const layers = {};  // name → OpenLayers layer

// ---- server

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(await said(answer));
  return answer.json();
}

async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    gone();
    throw new Error("not written: the server does not answer");
  }
  if (!answer.ok) throw new Error(`not written: ${await said(answer)}`);
  return answer.json();
}

async function said(answer) {
  const text = await answer.text();
  try { return JSON.parse(text).error; } catch { return text; }
}

function alarm(text) {
  $("alarm").textContent = text;
  $("alarm").hidden = !text;
}

function gone() {
  alarm(`The server does not answer. What you drew before is in\n${info ? info.file : "its file"}.\n` +
    "Give the command again and open the address that it prints.");
  $("light").className = "bad";
  $("status").textContent = "no server";
}

async function follow() {
  for (;;) {
    try {
      const news = await get(`state?since=${shown}`);
      if (shown < 0) alarm("");
      shown = news.version;
      await show(news);
    } catch (error) {
      gone();
      shown = -1;
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
}

// ---- what the state says

async function show(news) {
  const before = state;
  state = news;
  $("light").className = news.error ? "bad" : news.busy ? "busy" : "";
  const drawn = `${news.corrections} correction${news.corrections === 1 ? "" : "s"} kept`;
  $("status").textContent = news.busy ? `${news.busy} …` :
    `${drawn}${news.unsaved ? ", maps not yet saved" : news.corrections ? ", maps saved" : ""}`;
  $("map").classList.toggle("computing", Boolean(news.busy));
  document.body.dataset.busy = news.busy;
  document.body.dataset.version = news.version;
  if (news.error || (before && before.error)) alarm(news.error);
  $("save").disabled = !news.unsaved;
  $("save").classList.toggle("main", news.unsaved);
  $("undo").disabled = !news.corrections;
  showAreas();
  if (!before || before.suggestions !== news.suggestions) {
    suggestions = await get("suggestions");
    $("next").disabled = $("back").disabled = !suggestions.length;
  }
  if (!suggestions.length) $("reason").textContent = news.noSuggestions;
  if (!before || before.tiles[scene] !== news.tiles[scene]) refreshMap();
  await showCorrections();
}

function hectares(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 1 : size >= 0.1 || !size ? 2 : 4;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  });
}

function showAreas() {
  const areas = state && state.areas[scene];
  document.querySelectorAll("#classes tbody tr").forEach((row, k) => {
    const [now, change] = row.querySelectorAll(".ha");
    const more = areas ? areas.now[k] - areas.predicted[k] : 0;
    now.textContent = areas ? hectares(areas.now[k]) : "…";
    change.textContent = Math.abs(more) < 5e-5 ? "" : (more > 0 ? "+" : "−") + hectares(Math.abs(more));
    change.className = `ha ${more > 0 ? "more" : "less"}`;
  });
}

let asked = 0;

async function showCorrections() {
  const mine = ++asked;
  const found = await get(`corrections/${scene}`);
  if (mine !== asked) return;  // a later answer is on its way
  const source = layers.corrections.getSource();
  source.clear();
  source.addFeatures(new ol.format.GeoJSON().readFeatures(found));
}

// ---- map

const map = new ol.Map({
  target: "map",
  controls: ol.control.defaults.defaults({ attribution: false, rotate: false }),
  interactions: ol.interaction.defaults.defaults({
    altShiftDragRotate: false, pinchRotate: false, doubleClickZoom: false, keyboard: true,
  }),
});

function tileSource(name) {
  const own = info.scenes[scene];
  const number = scene;
  const resolutions = [];
  for (let level = own.levels; level >= 0; level--) resolutions.push(2 ** level);
  const source = new ol.source.TileImage({
    projection: projection(own),
    tileGrid: new ol.tilegrid.TileGrid({
      extent: [0, -own.height, own.width, 0], origin: [0, 0], resolutions, tileSize: 256,
    }),
    interpolate: false,
    transition: 0,
  });
  setAddress(source, name, number);
  return source;
}

function setAddress(source, name, number) {
  const own = info.scenes[number];
  const version = state ? state.tiles[number] : 0;
  let query = name === "map" || name in info.ramps ? `v=${version}` : "";
  if (name === "image") query = `bands=${bands().join(",")}&cut=${$("cut").value}`;
  source.setTileUrlFunction(
    ([z, x, y]) => `tiles/${number}/${name}/${own.levels - z}/${x}/${y}.png?${query}`, query || "-");
}

function projection(own) {
  return new ol.proj.Projection({
    code: "pixels", units: "pixels", extent: [0, -own.height, own.width, 0],
  });
}

function refreshMap() {
  for (const name of ["map", ...info.scenes[scene].layers]) {
    if (layers[name]) setAddress(layers[name].getSource(), name, scene);
  }
}

function openScene(number, centre) {
  scene = number;
  $("scene").value = number;
  const own = info.scenes[number];
  showLayers(own);
  for (const name of Object.keys(layers)) map.removeLayer(layers[name]);
  for (const name of ["image", "predicted", "map", ...own.layers]) {
    const [visible, opacity] = look(name);
    layers[name] = new ol.layer.Tile({ source: tileSource(name), visible, opacity });
    map.addLayer(layers[name]);
  }
  layers.corrections = new ol.layer.Vector({ source: new ol.source.Vector(), style: styleOf });
  map.addLayer(layers.corrections);
  const extent = [0, -own.height, own.width, 0];
  const view = new ol.View({
    projection: projection(own), center: [own.width / 2, -own.height / 2],
    resolution: 1, minResolution: 1 / 32, maxResolution: 2 ** (own.levels + 2),
    constrainOnlyCenter: true, extent, enableRotation: false,
  });
  map.setView(view);
  if (centre) {
    view.setCenter(centre.slice(0, 2));
    view.setResolution(centre[2]);
  } else {
    view.fit(extent, { padding: [20, 20, 20, 20] });
  }
  showAreas();
  showCorrections();
}

map.on("moveend", () => {
  const view = map.getView();
  const centre = view.getCenter();
  if (!centre || scene === undefined) return;
  const place = [...centre.map((v) => v.toFixed(1)), view.getResolution().toPrecision(5)];
  history.replaceState(null, "", `#${scene}/${place.join("/")}`);
});

function remembered() {
  const parts = location.hash.slice(1).split("/").map(Number);
  const fits = parts.length === 4 && parts.every(Number.isFinite);
  return fits && info.scenes[parts[0]] && parts[3] > 0 ? parts : null;
}

// ---- drawn corrections

function colorOf(code) {
  const found = info.classes.find((one) => one.code === code);
  return found ? found.color : "#ff00d4";
}

function styleOf(feature) {
  const color = colorOf(feature.get("code"));
  const waits = feature.get("waits");
  const fill = new ol.style.Fill({ color: color + "66" });
  return [
    new ol.style.Style({
      stroke: new ol.style.Stroke({ color: waits ? "#ffffff" : INK, width: 5 }),
      image: new ol.style.Circle({
        radius: 6, fill: new ol.style.Fill({ color }),
        stroke: new ol.style.Stroke({ color: waits ? "#ffffff" : INK, width: 2 }),
      }),
    }),
    new ol.style.Style({ fill, stroke: new ol.style.Stroke({ color, width: 2.5 }) }),
  ];
}

let drawing = null;

function useTool(name) {
  tool = name;
  if (drawing) map.removeInteraction(drawing);
  drawing = null;
  for (const button of document.querySelectorAll("#tools button")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  if (["Point", "LineString", "Polygon"].includes(name)) {
    drawing = new ol.interaction.Draw({ type: name, style: sketchStyle });
    drawing.on("drawend", (event) => { send(event.feature.getGeometry()); });
    map.addInteraction(drawing);
  }
  $("map").style.cursor = { Move: "grab", Erase: "pointer" }[name] || "crosshair";
}

function sketchStyle() {
  const color = info.classes[chosen].color;
  return new ol.style.Style({
    fill: new ol.style.Fill({ color: color + "55" }),
    stroke: new ol.style.Stroke({ color, width: 3, lineDash: [6, 5] }),
    image: new ol.style.Circle({
      radius: 6, fill: new ol.style.Fill({ color: color + "cc" }),
      stroke: new ol.style.Stroke({ color: "#ffffff", width: 2 }),
    }),
  });
}

async function send(geometry) {
  const kind = geometry.getType();
  const flat = { Point: (c) => [c], LineString: (c) => c, Polygon: (c) => c[0] };
  const places = flat[kind](geometry.getCoordinates()).map(([x, y]) => [x, -y]);
  const code = info.classes[chosen].code;
  const width = Number($("width").value) || null;
  const feature = new ol.Feature({ geometry, code, waits: true });
  layers.corrections.getSource().addFeature(feature);
  try {
    await post("add", { scene, kind, places, code, width });
    alarm("");
  } catch (error) {
    layers.corrections.getSource().removeFeature(feature);
    alarm(error.message);
  }
}

map.on("singleclick", (event) => {
  if (tool !== "Erase") return;
  const found = map.getFeaturesAtPixel(event.pixel, {
    layerFilter: (layer) => layer === layers.corrections, hitTolerance: 5,
  })[0];
  if (found && found.get("id")) {
    tell(post("remove", { layer: found.get("layer"), id: found.get("id") }));
  }
});

async function tell(asking) {
  try { await asking; } catch (error) { alarm(error.message); }
}

// ---- panel

function choose(k) {
  if (k >= info.classes.length) return;
  chosen = k;
  document.querySelectorAll("#classes tbody tr").forEach((row, number) => {
    row.classList.toggle("chosen", number === k);
    row.setAttribute("aria-selected", String(number === k));
  });
}

function element(tag, values = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...inside);
  return made;
}

function showClasses() {
  info.classes.forEach((one, k) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = one.color;
    const row = element("tr", { onclick: () => choose(k) },
      element("td", {}, k < 9 ? element("kbd", { textContent: k + 1 }) : ""),
      element("td", {}, swatch),
      element("td", { className: "name", textContent: one.name }),
      element("td", { className: "ha", textContent: "…" }), element("td", { className: "ha" }));
    $("classes").tBodies[0].append(row);
  });
}

const looks = {};  // of layers: shown, opacity

function look(name) {
  return looks[name] || (looks[name] = [...(OPEN[name] || [false, 0.8])]);
}

function showLayers(own) {
  $("layers").replaceChildren();
  for (const name of ["map", "predicted", ...own.layers, "image"]) {
    const values = look(name);
    const box = element("input", { type: "checkbox", checked: values[0], id: `show-${name}` });
    const slider = element("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: values[1], id: `opacity-${name}`,
      title: "opacity", ariaLabel: `Opacity of ${name}`,
    });
    box.onchange = () => { values[0] = box.checked; layers[name].setVisible(box.checked); };
    slider.oninput = () => { values[1] = Number(slider.value); layers[name].setOpacity(values[1]); };
    const title = TITLES[name] || name[0].toUpperCase() + name.slice(1);
    const row = element("div", { className: "layer" },
      element("div", { className: "row" }, element("label", {}, box, title), slider));
    if (name === "image") row.append(imageChoices(own));
    if (name in info.ramps) row.append(rampOf(name));
    $("layers").append(row);
  }
}

function rampOf(name) {
  const bar = element("i");
  bar.style.background = `linear-gradient(to right, ${info.ramps[name].join(", ")})`;
  return element("div", { className: "ramp quiet" }, "0", bar, "100");
}

let picked = {};  // scene → bands

function imageChoices(own) {
  const first = picked[scene] || own.first;
  const box = element("div", { className: "bands" });
  ["Red", "Green", "Blue"].forEach((title, k) => {
    const select = element("select", { id: `band-${k}` });
    own.bands.forEach((band, n) => select.append(new Option(band, n, false, n === first[k])));
    box.append(element("label", {}, title, select));
  });
  const cut = element("select", { id: "cut" });
  for (const [value, title] of [[0, "none"], [0.5, "0.5 %"], [2, "2 %"], [5, "5 %"], [10, "10 %"]]) {
    cut.append(new Option(title, value, false, value === 2));
  }
  box.append(element("label", { title: "darkest and brightest pixels that are cut off" },
    "Stretch", cut));
  box.onchange = () => {
    picked[scene] = bands();
    setAddress(layers.image.getSource(), "image", scene);
  };
  return box;
}

function bands() {
  return [0, 1, 2].map((k) => Number($(`band-${k}`).value));
}

function go(step) {
  if (!suggestions.length) return;
  at = (at + step + suggestions.length) % suggestions.length;
  if (at < 0) at = 0;
  const one = suggestions[at];
  if (one.scene !== scene) openScene(one.scene);
  const box = [one.left, -(one.top + one.height), one.left + one.width, -one.top];
  map.getView().fit(box, { padding: [40, 40, 40, 40] });
  $("reason").textContent = `${at + 1} of ${suggestions.length}: ${one.reason}`;
}

const undo = () => tell(post("undo", {}));
const save = () => tell(post("save", {}));

function key(event) {
  if (event.target.matches("input[type=number], select") || event.altKey) return;
  const letter = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (letter === "z") { event.preventDefault(); undo(); }
    return;
  }
  if (/^[1-9]$/.test(letter)) choose(Number(letter) - 1);
  const tools = { p: "Point", l: "LineString", a: "Polygon", e: "Erase", v: "Move" };
  if (letter in tools) useTool(tools[letter]);
  if (letter === "escape" && drawing) drawing.abortDrawing();
  if (letter === "enter" && drawing && tool !== "Point") drawing.finishDrawing();
  if (letter === "m") $("show-map").click();
  const does = { u: undo, s: save, n: () => go(1), b: () => go(-1) };
  if (letter in does && !event.repeat) does[letter]();
}

async function begin() {
  info = await get("info");
  showClasses();
  choose(0);
  info.scenes.forEach((one, n) => $("scene").append(new Option(one.name, n)));
  $("scene").onchange = () => { openScene(Number($("scene").value)); };
  for (const button of document.querySelectorAll("#tools button")) {
    button.onclick = () => useTool(button.dataset.tool);
  }
  $("undo").onclick = undo;
  $("save").onclick = save;
  $("next").onclick = () => go(1);
  $("back").onclick = () => go(-1);
  document.addEventListener("keydown", key);
  const place = remembered();
  openScene(place ? place[0] : 0, place && place.slice(1));
  useTool("Point");
  follow();
}

begin().catch((error) => alarm(error.message));
