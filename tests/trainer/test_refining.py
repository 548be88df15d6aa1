"""The refiner's training: what it is given, that it learns, that it can be stopped and continued, and its commands."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch

from models.backends.cpu import CpuBackend
from models.face_generator import FaceGenerator
from models.generator import Generator, GeneratorArchitecture
from models.generator_weights import Provenance, save_generator
from models.refiner import Refiner, RefinerArchitecture, enlarge, load_refiner, save_refiner
from tests.trainer.test_import_export import veil_train
from trainer.config import AugmentSettings, DataSettings, to_yaml
from trainer.losses import hidden_distance
from trainer.networks import random_source
from trainer.painter import open_painter
from trainer.patch_discriminator import PatchDiscriminator, hidden_mean
from trainer.refiner_config import RefinerLossSettings, RefinerNetworkSettings, RefinerRunSettings, RefinerTrainSettings
from trainer.refining import RefinerRun, blurred
from trainer.schedule import Stage

PROVENANCE = Provenance(training_data="eight faces", terms="none", images_seen=8, expansion=0.2)
MASKED = GeneratorArchitecture(resolution=16, widths=(12, 12, 8), epsilon=1e-6, has_mask=True)


@pytest.fixture
def settings(faces_folder: Path, tmp_path: Path) -> RefinerTrainSettings:
    """16 to 32 pixels, 96 images."""
    torch.manual_seed(0)
    save_generator(tmp_path / "generator.safetensors", Generator(MASKED), PROVENANCE)
    return RefinerTrainSettings(
        data=DataSettings(kind="labels", root=str(faces_folder), validation_share=0.2),
        generator=str(tmp_path / "generator.safetensors"),
        network=RefinerNetworkSettings(width=12, blocks=2, discriminator_width=4),
        loss=RefinerLossSettings(perceptual=0.0),
        run=RefinerRunSettings(
            total_images=96, batch=8, device="cpu", bfloat16=False, log_every_images=32, samples_every_images=48, terms="tests only"
        ),
    )


def changed(settings: RefinerTrainSettings, group: str, **values: object) -> RefinerTrainSettings:
    return msgspec.structs.replace(settings, **{group: msgspec.structs.replace(getattr(settings, group), **values)})


def test_each_picture_is_blurred_as_opencv_would() -> None:
    random = np.random.default_rng(0)
    pictures = cv2.GaussianBlur(random.random((32, 32, 6), np.float32), (0, 0), 1.0)
    images = torch.from_numpy(pictures.transpose(2, 0, 1).reshape(2, 3, 32, 32).copy())

    soft = blurred(images, torch.tensor([0.0, 2.0]))

    assert torch.allclose(soft[0], images[0], atol=1e-6)
    wanted = cv2.GaussianBlur(images[1].numpy().transpose(1, 2, 0), (11, 11), 2.0, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(soft[1].numpy().transpose(1, 2, 0) - wanted).max() < 1e-4


def test_a_score_looks_at_25_pixels() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(4).eval()
    image = torch.zeros((1, 3, 64, 64), requires_grad=True)
    scores = network(image)
    assert scores.shape == (1, 1, 16, 16)
    scores[0, 0, 8, 8].backward()
    assert image.grad is not None
    rows = torch.nonzero(image.grad.abs().sum((0, 1, 3)))
    assert int(rows.max() - rows.min()) + 1 == 25


def test_only_patches_of_hidden_pixels_count() -> None:
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    hidden = torch.zeros((1, 1, 16, 16))
    hidden[:, :, :4, 4:8] = 1
    hidden[:, :, 8:10, :4] = 1  # half a patch
    assert float(hidden_mean(values, hidden)) == pytest.approx((1 + 8 / 2) / 1.5)


def test_painted_faces_come_first_and_real_ones_are_their_originals_made_coarse(
    settings: RefinerTrainSettings, tmp_path: Path
) -> None:
    still = changed(settings, "loss", blur_max=0.0, noise_max=0.0, painted=0.25)
    run = RefinerRun(still, tmp_path / "run")
    batch = run.source.batch(range(8), Stage(resolution=32, alpha=1.0, batch=8, images_into_phase=0))

    given = run.coarse(batch, random_source(0, 1))

    assert given.painted == 2
    assert given.faces.shape == (8, 3, 16, 16)
    halved = torch.nn.functional.avg_pool2d(given.task.real, 2)
    differences = (given.faces - halved).abs().amax((1, 2, 3))
    assert (differences[2:] < 1e-5).all()
    assert (differences[:2] > 0.05).all()


def test_it_learns_what_detail_a_face_has(settings: RefinerTrainSettings, tmp_path: Path) -> None:
    """On the faces of training, against enlarging them smoothly."""
    longer = changed(settings, "run", total_images=2400, learning_rate=0.01, average_half_life_images=50.0, log_every_images=800)
    longer = changed(longer, "loss", adversarial=0.0, noise_max=0.0)
    longer = msgspec.structs.replace(longer, augment=AugmentSettings(rotate_deg=0, color=0, degrade=0, shift=0))
    run = RefinerRun(longer, tmp_path / "run")

    def errors() -> tuple[float, float]:
        batch = run.source.batch(range(8), Stage(resolution=32, alpha=1.0, batch=8, images_into_phase=0))
        given = run.coarse(batch, random_source(0, 1))
        real, hidden, faces = (each[given.painted :] for each in (given.task.real, given.task.hidden, given.faces))
        refined = run.average(faces, real, hidden)
        return tuple(float(hidden_distance(each, real, hidden, 32).mean()) for each in (refined, enlarge(faces)))  # type: ignore[return-value]

    before = errors()
    assert before[0] == pytest.approx(before[1])
    assert run.train()
    refined, enlarged = errors()
    assert refined < 0.85 * enlarged, (refined, enlarged)


def test_a_run_that_was_stopped_equals_one_that_was_not(settings: RefinerTrainSettings, tmp_path: Path) -> None:
    whole = RefinerRun(settings, tmp_path / "whole")
    assert whole.train()
    stopped = RefinerRun(settings, tmp_path / "stopped")
    assert not stopped.train(lambda run: run.stop() if run.images_seen == 40 else None)
    resumed = RefinerRun(settings, tmp_path / "stopped", resume=True)
    assert resumed.images_seen == 40
    assert resumed.train()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name
    assert (tmp_path / "whole" / "samples" / "000000048.png").read_bytes().startswith(b"\x89PNG")
    refiner, provenance = load_refiner(tmp_path / "whole" / "refiner.safetensors")
    assert refiner.architecture == RefinerArchitecture(width=12, blocks=2)
    assert (provenance.images_seen, provenance.terms) == (96, "tests only")


def test_frozen_features_take_part(settings: RefinerTrainSettings, tmp_path: Path) -> None:
    run = RefinerRun(
        changed(changed(settings, "loss", perceptual=1.0), "run", total_images=8, log_every_images=8), tmp_path / "run"
    )
    assert run.train()
    assert '"perceptual": ' in (tmp_path / "run" / "log.jsonl").read_text()


def test_the_commands_train_and_export(
    settings: RefinerTrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = tmp_path / "refiner.yaml", tmp_path / "run"
    config.write_text(to_yaml(changed(settings, "run", total_images=16)))
    assert veil_train(monkeypatch, "fit-refiner", config, "-o", folder) == 0
    assert veil_train(monkeypatch, "fit-refiner", config, "-o", folder) == 2
    assert "--resume" in capsys.readouterr().err
    assert veil_train(monkeypatch, "fit-refiner", config, "-o", folder, "--resume") == 0

    exported = tmp_path / "refined.onnx"
    arguments = ("export", settings.generator, "--refiner", folder / "refiner.safetensors", "-o", exported)
    assert veil_train(monkeypatch, *arguments) == 0
    assert "none; those of the refiner: tests only" in capsys.readouterr().out

    generator = FaceGenerator(CpuBackend(exported.read_bytes()), exported.name)
    assert (generator.resolution, generator.expansion) == (32, 0.2)
    painter = open_painter(exported)
    assert (painter.resolution, painter.architecture) == (32, MASKED)
    assert "refined by 16 images" in painter.provenance.training_data


@pytest.mark.parametrize(
    ("group", "values", "code", "message"),
    [
        ("data", {"root": "nowhere"}, 3, "nowhere/labels.csv"),
        ("loss", {"painted": 1.0}, 2, "loss.painted: 1.0 of a batch of 8 leaves no painted face or no real one"),
        ("run", {"device": "cuda"}, 2, "run.device: cuda"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    settings: RefinerTrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: str,
    values: dict[str, object],
    code: int,
    message: str,
) -> None:
    lines = to_yaml(settings).splitlines()
    for key, value in values.items():
        lines = [f"  {key}: {value}" if line.startswith(f"  {key}:") else line for line in lines]
    config = tmp_path / "refiner.yaml"
    config.write_text("\n".join(lines))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert veil_train(monkeypatch, "fit-refiner", config, "-o", tmp_path / "run") == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("veil-train fit-refiner: ")
    assert message in last


def test_a_generator_without_a_mask_is_refused(
    settings: RefinerTrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.safetensors"
    save_generator(plain, Generator(GeneratorArchitecture(resolution=16, widths=(12, 12, 8))), PROVENANCE)
    save_refiner(tmp_path / "refiner.safetensors", Refiner(RefinerArchitecture()), PROVENANCE)
    config = tmp_path / "refiner.yaml"
    config.write_text(to_yaml(settings))

    assert veil_train(monkeypatch, "fit-refiner", config, "--generator", plain, "-o", tmp_path / "run") == 2
    export = ("export", plain, "--refiner", tmp_path / "refiner.safetensors", "-o", tmp_path / "out.onnx")
    assert veil_train(monkeypatch, *export) == 3

    assert capsys.readouterr().err.count("no mask channel, and only a generator with one can be refined") == 2
    assert not (tmp_path / "out.onnx").exists()


def test_a_checkpoint_of_another_refiner_is_refused(settings: RefinerTrainSettings, tmp_path: Path) -> None:
    from trainer.checkpoint import CheckpointError

    run = RefinerRun(changed(settings, "run", total_images=8), tmp_path / "run")
    assert run.train()
    with pytest.raises(CheckpointError, match="of other networks"):
        RefinerRun(changed(settings, "network", width=16), tmp_path / "run", resume=True)
