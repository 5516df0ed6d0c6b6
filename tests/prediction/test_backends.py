import os
import sys
import warnings
from functools import partial

import pytest
import segmentation_models_pytorch
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from torch import nn

from geoseg.errors import InputError
from geoseg.models.device import Device, enough_memory
from geoseg.models.networks import build as models
from geoseg.models.networks import segnet, smp
from geoseg.models.settings import Model
from geoseg.prediction.backends import choice
from geoseg.prediction.backends.build import prepare
from geoseg.prediction.backends.choice import FASTER, Candidate, choose_backend
from geoseg.prediction.backends.merge import MergedBlock, merge
from geoseg.prediction.backends.remembered import Remembered
from geoseg.prediction.backends.runner import NAMES
from geoseg.prediction.network import BACKENDS, InferenceSettings
from geoseg.prediction.windows import CubeWindows
from tests.made.narrow import few_neighbourhoods

FLOAT32, BFLOAT16 = Device("cpu", "32"), Device("cpu", "bf16")
EXPORTERS = ("openvino", "onnx")


class Tiny(nn.Module):
    """What compiling takes least for, with all that matters: a branch, a norm, an upsampling."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(4, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(20, classes, 3, padding=1)

    def forward(self, image):
        return self.head(torch.cat([self.up(self.down(image)), image], dim=1))


@pytest.fixture(scope="module", autouse=True)
def _few():
    with few_neighbourhoods():
        yield


@pytest.fixture(scope="module")
def images():
    """Fields with a little texture: (4, 4, 64, 64), different in each slot."""
    torch.manual_seed(1)
    fields = torch.randn(4, 4, 4, 4).sign()
    noisy = fields.repeat_interleave(16, 2).repeat_interleave(16, 3) + 0.1 * torch.randn(
        4, 4, 64, 64
    )
    return noisy.contiguous(memory_format=torch.channels_last)


def settled(network, images):
    """Trained for a few steps to see the sign of two bands: classes with margins between them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # statistics that follow in a few steps
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    target = (images[:, 0] > 0).long() + 2 * (images[:, 1] > 0).long()
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), target).backward()
        optimiser.step()
    return network.eval()


def shallow():
    """A U-Net of three steps, not five: half as much to export, and of the same kinds."""
    with pytest.MonkeyPatch.context() as patched:
        few = partial(smp.DetailedUnet, encoder_depth=3, decoder_channels=(64, 32, 16))
        patched.setitem(smp.DETAILED, "unet", few)
        return models.build(Model("unet", "tu-lcnet_050"), 4, 5)


@pytest.fixture(scope="module")
def unet(images):
    torch.manual_seed(0)
    return settled(shallow(), images)


@pytest.fixture(scope="module")
def tiny(images):
    torch.manual_seed(0)
    return settled(Tiny(), images)


def network_for(backend, device, unet, tiny):
    """The small one where building takes long: OpenVINO is shown the large one once, ONNX Runtime
    one of a kind that users have in test_images.py."""
    long = backend in ("compile", "onnx") or (backend, device) == ("openvino", BFLOAT16)
    return tiny if long else unet


def codes_of(network, images):
    with torch.inference_mode():
        return network(images).argmax(dim=1)


def agreement(codes, others):
    return (codes == others).double().mean().item()


@pytest.mark.parametrize(
    ("backend", "device"),
    # ONNX Runtime knows float32 only, whatever the device's precision.
    [*((name, FLOAT32) for name in NAMES), *((name, BFLOAT16) for name in NAMES[:3])],
    ids=str,
)
def test_backends_say_what_the_network_says_whoever_shares_the_batch(
    backend, device, unet, tiny, images
):
    network = network_for(backend, device, unet, tiny)
    expected = codes_of(network, images)
    run = prepare(network, device, backend=backend, shape=tuple(images.shape))
    logits = run(images).clone()
    assert logits.shape == (4, 5, 64, 64)
    assert agreement(logits.argmax(dim=1), expected) >= 0.999
    assert torch.equal(run(images), logits)
    alone = torch.zeros_like(images)
    alone[2] = images[2]
    assert torch.equal(run(alone)[2], logits[2])
    assert torch.equal(run(images.roll(1, dims=0))[3], logits[2])


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_networks_with_random_weights_are_the_same_in_float32(backend, images):
    torch.manual_seed(3)
    network = shallow() if backend == "torch" else Tiny()
    expected = codes_of(network.eval(), images)
    run = prepare(network, FLOAT32, backend=backend, shape=tuple(images.shape))
    assert agreement(run(images).argmax(dim=1), expected) >= 0.999


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_segnet_and_sides_that_are_no_multiple_of_32(backend, images, monkeypatch):
    monkeypatch.setattr(segnet, "WIDTHS", (8, 8, 16, 16, 16))
    monkeypatch.setitem(segnet.DEPTHS, "vgg11_bn", (1, 1, 1, 1, 1))
    torch.manual_seed(0)
    network = models.build(Model("segnet", "vgg11_bn"), 4, 3).eval()
    images = images[:2, :, :40, :50]
    expected = codes_of(network, images)
    run = prepare(network, FLOAT32, backend=backend, shape=(2, 4, 40, 50))
    logits = run(images)
    assert logits.shape == (2, 3, 40, 50)
    assert agreement(logits.argmax(dim=1), expected) >= 0.999


@pytest.mark.parametrize("backend", ["torch", *EXPORTERS])
def test_the_network_itself_stays_as_it_is(backend, tiny, images):
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    prepare(tiny, BFLOAT16, backend=backend, shape=tuple(images.shape))(images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())
    assert all(tensor.dtype == before[name].dtype for name, tensor in tiny.state_dict().items())
    tiny(images).sum().backward()  # as a notebook may that trains on


def test_eager_bfloat16_is_autocast_to_the_bit(tiny, images):
    run = prepare(tiny, BFLOAT16, backend="torch", shape=tuple(images.shape))
    with torch.inference_mode(), BFLOAT16.autocast():
        assert torch.equal(run(images), tiny(images))


class TestMerge:
    def test_blocks_say_the_same_to_rounding(self, unet, images):
        network = merge(unet)
        assert sum(isinstance(module, MergedBlock) for module in network.modules()) == 3
        assert not any(isinstance(module, MergedBlock) for module in unet.modules())
        with torch.inference_mode():
            for part in (images, images[:1, :, :33, :50]):
                expected = unet(part)
                torch.testing.assert_close(network(part), expected, atol=1e-4, rtol=1e-4)

    def test_sizes_that_are_not_doubled_are_left_to_the_block(self):
        torch.manual_seed(0)
        block = UnetDecoderBlock(6, 3, 4).eval()
        features, skipped = torch.randn(2, 6, 8, 8), torch.randn(2, 3, 8, 8)
        with torch.inference_mode():
            expected = block(features, 8, 8, skip_connection=skipped)
            given = MergedBlock(block, 6)(features, 8, 8, skip_connection=skipped)
        assert torch.equal(given, expected)

    @pytest.mark.parametrize("name", ["fpn", "unetplusplus", "segnet"])
    def test_others_stay_themselves(self, name):
        encoder = "vgg11_bn" if name == "segnet" else "resnet18"
        network = models.build(Model(name, encoder), 4, 2)
        assert merge(network) is network

    def test_attention_is_no_part_of_it(self):
        network = segmentation_models_pytorch.Unet(
            "resnet18", encoder_weights=None, decoder_attention_type="scse"
        )
        assert merge(network) is network


def test_results_do_not_depend_on_the_context(tiny, images):
    for backend in NAMES:
        run = prepare(tiny, FLOAT32, backend=backend, shape=tuple(images.shape))
        expected = run(images).clone()
        with torch.inference_mode(), BFLOAT16.autocast():
            assert torch.equal(run(images), expected)


class TestWhatIsNotThere:
    @pytest.mark.parametrize("backend", EXPORTERS)
    def test_a_library(self, backend, tiny, images, monkeypatch):
        library = {"onnx": "onnxruntime"}.get(backend, backend)
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(InputError, match=f"needs {library}.*pip install geoseg.{backend}]"):
            prepare(tiny, FLOAT32, backend=backend, shape=tuple(images.shape))

    def test_a_compiler(self, images, monkeypatch):
        import torch._inductor.config

        monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
        monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
        torch.manual_seed(0)
        with pytest.raises(InputError, match=r"no C\+\+ compiler"):
            prepare(Tiny(7).eval(), FLOAT32, backend="compile", shape=tuple(images.shape))

    @pytest.mark.parametrize("backend", EXPORTERS)
    def test_an_operation(self, backend, images):
        class Strange(nn.Module):
            def forward(self, image):
                return image if image.sum().item() > 0 else -image

        with pytest.raises(InputError, match=f"backend={backend}: can't run this network"):
            prepare(Strange(), FLOAT32, backend=backend, shape=tuple(images.shape))

    @pytest.mark.parametrize("backend", ["compile", *EXPORTERS])
    def test_series(self, backend, images):
        network = CubeWindows(Tiny(), bands=3)
        with pytest.raises(InputError, match="not for networks of series"):
            prepare(network, FLOAT32, backend=backend, shape=tuple(images.shape))

    @pytest.mark.parametrize("backend", EXPORTERS)
    def test_another_device(self, backend, tiny, images):
        with pytest.raises(InputError, match="runs on the CPU"):
            prepare(tiny, Device("meta", "32"), backend=backend, shape=tuple(images.shape))

    def test_a_backend(self, tiny, images):
        with pytest.raises(InputError, match="backend=tensorrt: unknown; choose from torch"):
            prepare(tiny, FLOAT32, backend="tensorrt", shape=tuple(images.shape))


@pytest.mark.parametrize(
    ("backend", "compiled", "name"),
    [
        ("auto", False, None),
        ("torch", False, "torch"),
        ("openvino", False, "openvino"),
        ("auto", True, "compile"),
        ("torch", True, "compile"),
        ("compile", True, "compile"),
    ],
)
def test_settings_name_a_backend(backend, compiled, name):
    assert InferenceSettings(backend=backend, compile=compiled).wanted_backend == name


def test_settings_know_all_backends():
    assert ("auto", *NAMES) == BACKENDS


def test_settings_that_contradict_each_other():
    with pytest.raises(InputError, match=r"leave out predict\.backend=onnx"):
        InferenceSettings(backend="onnx", compile=True)
    with pytest.raises(InputError, match=r"backend=tvm: choose from auto, torch"):
        InferenceSettings(backend="tvm")


class Fake:
    """A runner of a name that is as fast and as right as it is told to be."""

    name = "fake"

    def __init__(self, network, wrong=0.0):
        self._network = network
        self._wrong = wrong

    @torch.inference_mode()
    def __call__(self, images):
        logits = self._network(images)
        rows = round(self._wrong * logits.shape[-2])
        logits[..., :rows, :] = logits[..., :rows, :].flip(1)
        return logits


@pytest.fixture
def clock(monkeypatch):
    """Set the seconds per batch of runners by name, instead of measuring."""
    seconds = {}

    def timed(runner, images, passes):
        runner(images)
        return [seconds[runner.name]] * passes

    monkeypatch.setattr(choice, "_timed", timed)
    monkeypatch.setattr(choice, "SECONDS", 0)
    return seconds


def candidate(name, build, seconds=5.0, saves=0.4):
    return Candidate(name, seconds, saves, build)


class TestChoice:
    def test_short_jobs_run_in_torch_and_nothing_is_built(self, tiny, images, clock):
        clock["torch"] = 0.1

        def build():
            raise AssertionError("built")

        chosen = choose_backend(
            tiny, FLOAT32, images=images, windows=100, others=[candidate("fast", build)]
        )
        assert (chosen.backend, chosen.runner.name) == ("torch", "torch")
        assert not chosen.notes
        assert not chosen.seconds

    def test_long_jobs_take_the_fastest(self, tiny, images, clock):
        clock |= {"torch": 0.1, "fake": 0.05}
        others = [candidate("fast", lambda: Fake(tiny))]
        chosen = choose_backend(tiny, FLOAT32, images=images, windows=4000, others=others)
        assert (chosen.backend, chosen.runner.name) == ("fast", "fake")
        assert chosen.seconds == {"torch": 0.1, "fast": 0.05}
        assert chosen.agreement == {"torch": 1, "fast": 1}

    def test_what_was_measured_is_not_measured_again(
        self, tiny, images, clock, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("GEOSEG_CACHE", str(tmp_path))
        known = Remembered.of("abc", FLOAT32, tuple(images.shape))
        assert known == Remembered.of("abc", FLOAT32, tuple(images.shape))
        assert known != Remembered.of("abd", FLOAT32, tuple(images.shape))
        assert known != Remembered.of("abc", BFLOAT16, tuple(images.shape))
        built = []

        def build(name, wrong=0.0):
            built.append(name)
            return Fake(tiny, wrong)

        def choose(**wrong):
            others = [candidate(n, partial(build, n, wrong.get(n, 0.0))) for n in ("fast", "slow")]
            options = {"images": images, "windows": 4000, "others": others, "known": known}
            return choose_backend(tiny, FLOAT32, **options).backend

        clock |= {"torch": 0.1, "fake": 0.05}
        for _ in range(2):  # the first might be that of a bad moment
            assert choose() == "fast"
        assert built == ["fast", "slow"] * 2
        clock["fake"] = 7.0  # nobody times it now
        assert choose() == "fast"
        assert built == [*["fast", "slow"] * 2, "fast"]
        assert choose(fast=0.5) == "torch"  # it is no longer safe: other images
        (path,) = tmp_path.rglob("*.json")
        path.write_text('{"fast/torch": "0.1"}', encoding="utf-8")
        assert choose() == "torch"  # measured anew, as what stands there is no number
        monkeypatch.setenv("GEOSEG_CACHE", os.devnull)  # nothing can be kept: all is measured
        known = Remembered.of("abc", FLOAT32, tuple(images.shape))
        clock["fake"] = 0.05
        assert [choose(), known.ratio("fast", "torch", limit=FASTER)] == ["fast", None]

    @pytest.mark.parametrize(
        ("measured", "taken"),
        [
            ([], None),
            ([0.5], None),
            ([0.5, 0.7], 0.6),
            ([1.7], None),
            ([1.7, 0.5], None),  # one of them is noise: nobody knows which
            ([1.7, 0.5, 0.6], 0.6),
            ([0.5, 1.7, 1.1], 1.1),
            ([1.2, 1.4], 1.3),
        ],
    )
    def test_one_noisy_timing_decides_nothing(self, tmp_path, measured, taken):
        known = Remembered(tmp_path / "known.json")
        for ratio in measured:
            known.keep("fast", "torch", ratio)
        found = known.ratio("fast", "torch", limit=FASTER)
        assert found == (None if taken is None else pytest.approx(taken))

    def test_what_an_earlier_version_kept_is_one_measurement(self, tmp_path):
        (tmp_path / "known.json").write_text('{"fast/torch": 0.5}', encoding="utf-8")
        known = Remembered(tmp_path / "known.json")
        assert known.ratio("fast", "torch", limit=FASTER) is None
        known.keep("fast", "torch", 0.5)
        assert known.ratio("fast", "torch", limit=FASTER) == 0.5

    def test_what_is_hardly_faster_is_not_taken(self, tiny, images, clock):
        clock |= {"torch": 0.1, "fake": 0.099}
        others = [candidate("same", lambda: Fake(tiny))]
        chosen = choose_backend(tiny, FLOAT32, images=images, windows=4000, others=others)
        assert chosen.backend == "torch"

    def test_what_disagrees_is_refused(self, tiny, images, clock):
        clock |= {"torch": 0.1, "fake": 0.01}
        others = [candidate("wrong", lambda: Fake(tiny, wrong=0.1))]
        chosen = choose_backend(tiny, FLOAT32, images=images, windows=4000, others=others)
        assert chosen.backend == "torch"
        assert chosen.agreement["wrong"] < 0.95
        (note,) = chosen.notes
        assert "wrong: agrees with float32 on 9" in note
        assert note.endswith("not taken")

    @pytest.mark.parametrize("error", [InputError("no compiler"), RuntimeError(), OSError("disk")])
    def test_what_fails_is_skipped_and_said(self, tiny, images, clock, error):
        clock |= {"torch": 0.1, "fake": 0.05}

        def build():
            raise error

        others = [candidate("broken", build), candidate("fast", lambda: Fake(tiny))]
        chosen = choose_backend(tiny, FLOAT32, images=images, windows=4000, others=others)
        assert chosen.backend == "fast"
        (note,) = chosen.notes
        assert str(error) in note
        assert "\n" not in note

    def test_a_candidate_must_pay_off_against_the_best_so_far(self, tiny, images, clock):
        clock |= {"torch": 0.1, "fake": 0.01}

        def build():
            raise AssertionError("built")

        others = [candidate("fast", lambda: Fake(tiny)), candidate("slow", build, 30, 0.15)]
        chosen = choose_backend(tiny, FLOAT32, images=images, windows=24000, others=others)
        assert chosen.backend == "fast"

    def test_float32_in_torch_is_what_bfloat16_is_held_against(self, images, clock):
        clock |= {"torch": 0.1, "fake": 0.01}
        torch.manual_seed(0)
        network = Tiny().eval()
        with torch.no_grad():
            network.head.weight *= 1e-3  # two classes differ less than bfloat16 can tell
            network.head.bias.copy_(torch.full((5,), 1.0))
        others = [candidate("exact", lambda: Fake(network))]
        chosen = choose_backend(network, BFLOAT16, images=images, windows=4000, others=others)
        assert chosen.backend == "exact"
        assert chosen.agreement["torch"] < 0.999
        (note,) = chosen.notes
        assert note.endswith("predict.precision=32 is exact")

    def test_openvino_is_tried_for_real(self, tiny, images, monkeypatch):
        monkeypatch.setattr(choice, "SECONDS", 0.1)
        others = [
            other
            for other in choice.candidates(tiny, FLOAT32, tuple(images.shape))
            if other.backend == "openvino"
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chosen = choose_backend(tiny, FLOAT32, images=images, windows=10**7, others=others)
        assert chosen.agreement["openvino"] >= 0.999
        assert not chosen.notes

    def test_series_run_in_torch(self, images):
        assert choice.candidates(CubeWindows(Tiny(), bands=3), FLOAT32, (1, 4, 8, 8)) == []

    def test_candidates_suit_device_and_precision(self, tiny):
        def names(device):
            return [other.backend for other in choice.candidates(tiny, device, (1, 4, 8, 8))]

        assert names(FLOAT32) == ["openvino", "onnx", "compile"]
        assert names(BFLOAT16) == ["openvino", "compile"]
        assert names(Device("cuda", "bf16")) == ["compile"]


def test_memory_that_runs_out_is_a_fault_of_a_setting():
    with (
        pytest.raises(InputError, match=r"batch_size=64: .* \(CUDA out of memory\); lower"),
        enough_memory("predict.batch_size", 64),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
