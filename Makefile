# Two commands do everything, environment included: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# No download at run time, and albumentations would look for one at each import.
export NO_ALBUMENTATIONS_UPDATE = 1
# Each of the processes that are started here would compile all modules again: up to a second.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-series test fuzz lint bench bench-scale bench-real bench-labels bench-transfer real quality quality-quick docs notebooks qgis wheel clean

# Python compiles what is imported, once; pip would compile 20,000 files, most of them for nothing.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geoseg needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)  ## The whole way on made-up scenes: about 5 minutes on 2 cores
	$(BIN)/python -m geoseg.demo
	$(BIN)/python -m geoseg.prepare
	$(BIN)/python -m geoseg.train experiment=demo
	$(BIN)/python -m geoseg.predict
	$(BIN)/python -m geoseg.mosaic
	$(BIN)/python -m geoseg.vectorize
	$(BIN)/python -m geoseg.evaluate polygons=maps/demo/landcover.gpkg
	$(BIN)/python -m geoseg.sample
	$(BIN)/python -m geoseg.assess
	@echo
	@echo "map:      maps/demo/landcover.tif   (open it in QGIS: Layer > Add Layer > Add Raster Layer, or drag it in)"
	@echo "polygons: maps/demo/landcover.gpkg  (open it in QGIS: it brings its style)"
	@echo "report:   reports/demo/report.html  (open it in a browser)"
	@echo "sample:   reports/demo/sample/sample.gpkg, assessed in reports/demo/assessment/report.html"

demo-series: $(INSTALLED)  ## The same for parcels in a made-up Sentinel-2 year: about 4 minutes
	$(BIN)/python -m geoseg.demo
	$(BIN)/python -m geoseg.prepare_series
	$(BIN)/python -m geoseg.train dataset=data/demo/series_dataset run=runs/demo_series experiment=demo_series
	$(BIN)/python -m geoseg.predict checkpoint=runs/demo_series
	$(BIN)/python -m geoseg.mosaic maps=maps/demo_series out=maps/demo_series/landcover.tif
	$(BIN)/python -m geoseg.evaluate map=maps/demo_series/landcover.tif legend=crops \
		labels.path=data/demo/series_dataset/samples.gpkg labels.field=class labels.where="split = 'test'" \
		out=reports/demo_series
	@echo
	@echo "parcels: maps/demo_series/parcels.gpkg   (open it in QGIS: it brings its style)"
	@echo "map:     maps/demo_series/landcover.tif"
	@echo "report:  reports/demo_series/report.html  (open it in a browser)"

test: $(INSTALLED)  ## All tests; no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q

fuzz: $(INSTALLED)  ## Damaged files for an hour: FUZZ=<examples of each kind>, 400 in a minute or so
	OMP_NUM_THREADS=1 FUZZ=$(or $(FUZZ),20000) $(BIN)/python -m pytest -n auto -q tests/received/test_fuzz.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy geoseg benchmarks
	$(BIN)/lint-imports --no-logo

bench: $(INSTALLED)  ## Ratios measured in one run: about 30 minutes on 2 quiet cores
	$(BIN)/python -m benchmarks.predict                                      # 2 minutes
	$(BIN)/python -m benchmarks.backends                                     # 2
	$(BIN)/python -m benchmarks.layers                                       # 1
	$(BIN)/python -m benchmarks.peers                                        # 3: 1 without the peers
	$(BIN)/python -m benchmarks.process                                      # 4
	$(BIN)/python -m benchmarks.mosaic                                       # 5
	$(BIN)/python -m benchmarks.comparison                                   # 2
	$(BIN)/python -m benchmarks.scale --sides 4000 16000 --count 300         # 4
	$(BIN)/python -m benchmarks.series_speed                                 # 4
	$(BIN)/python -m benchmarks.assessment                                   # 1
	$(BIN)/python -m benchmarks.training                                     # 4: 3 without TorchGeo
	$(BIN)/python -m benchmarks.vectorize                                    # 10: most of it GDAL's tools

bench-scale: $(INSTALLED)  ## The same scale as large as is claimed: about 20 minutes, 1 GB of disk
	$(BIN)/python -m benchmarks.scale

bench-transfer: $(INSTALLED)  ## From published weights, other places: GEOSEG_REAL_DATA=<folder>; hours, goes on after a stop
	$(BIN)/python -m benchmarks.transfer

bench-real: $(INSTALLED)  ## Precision, seams, novelty: GEOSEG_REAL_DATA=<folder>; 7 minutes, 6 more to train once
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.seams
	$(BIN)/python -m benchmarks.novelty

bench-labels: $(INSTALLED)  ## Few labels, wrong labels: GEOSEG_REAL_DATA=<folder>; an hour
	$(BIN)/python -m benchmarks.little
	$(BIN)/python -m benchmarks.noise

real: $(INSTALLED)  ## The whole way on real imagery: GEOSEG_REAL_DATA=<folder>
	$(BIN)/python -m benchmarks.real
	$(BIN)/python -m benchmarks.series --maps

quality: $(INSTALLED)  ## Defaults against plain scripts: GEOSEG_REAL_DATA=<folder>; a night, goes on after a stop
	$(BIN)/python -m benchmarks.quality

quality-quick: $(INSTALLED)  ## Two sets, one seed: under 4 minutes; fails if a default loses to the plain script
	$(BIN)/python -m benchmarks.quality --quick --fresh

docs: $(INSTALLED)  ## The documentation site, docs/_build/index.html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/.doctrees docs docs/_build

notebooks: $(INSTALLED)  ## Run every notebook, and see that it still does what it says
	OMP_NUM_THREADS=1 GEOSEG_NOTEBOOKS=all $(BIN)/python -m pytest -q tests/test_notebooks.py

qgis: $(INSTALLED)  ## The plugin for QGIS, dist/geoseg_tools.zip; its parameters are made from the dataclasses
	$(BIN)/python qgis/build.py

wheel: $(INSTALLED)  ## Build the wheel, and run it in an empty environment outside the checkout
	PYTHON=$(BIN)/python tests/jobs/wheel_check.sh

clean:
	rm -rf $(VENV) data/demo runs maps reports real quality dist docs/_build docs/notebooks docs/reference/api docs/reference/commands
