"""Training data: any folder will do, nothing in it stops a run."""

import numpy as np
import pytest
from PIL import Image

from sfumato.images import ImageError
from train.data import (
    ImageFolder,
    StyleTransferDataset,
    crop,
    recolour,
    restyle,
    soften,
)
from train.drawings import cut_out, drawing


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for index in range(5):
        pixels = random.integers(0, 256, (80 + index, 100, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a" / "b" / f"{index}.png")
    return tmp_path


def test_finds_images_at_any_depth_and_lists_the_rest_once(folder):
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.jpg").touch()
    Image.new("RGB", (40, 400)).save(folder / "tiny.png")
    Image.new("L", (90, 90)).save(folder / "grey.png")
    found = ImageFolder(folder)
    assert len(found.paths) == 6
    reasons = {path.name: reason for path, reason in found.skipped.items()}
    assert reasons.keys() == {"notes.txt", "empty.jpg", "tiny.png"}
    assert "40 x 400" in reasons["tiny.png"]


def test_a_file_damaged_past_its_header_is_replaced_and_named_once(folder, capsys):
    whole = (folder / "a" / "b" / "0.png").read_bytes()
    (folder / "a" / "b" / "0.png").write_bytes(whole[:2000])
    found = ImageFolder(folder)
    assert len(found.paths) == 5
    drawn = [found.draw(number, seed=0) for number in range(10)]
    assert all(image.shape[1:] == (100, 3) for image in drawn)
    assert capsys.readouterr().out.count("Skipping") == 1


@pytest.mark.parametrize("content", [None, b"text"])
def test_a_folder_without_images_is_refused(tmp_path, content):
    if content:
        (tmp_path / "file.txt").write_bytes(content)
    with pytest.raises(ImageError, match="holds no image"):
        ImageFolder(tmp_path)


def test_every_image_is_drawn_once_before_any_twice(folder):
    found = ImageFolder(folder)
    for start in (0, 5):
        heights = [found.draw(start + n, seed=7).shape[0] for n in range(5)]
        assert sorted(heights) == [80, 81, 82, 83, 84]


def test_held_out_images_are_never_drawn(tmp_path):
    for index in range(22):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(tmp_path / f"{index}.png")
    found = ImageFolder(tmp_path)
    held_out = found.hold_out(2, np.random.default_rng(0))
    unseen = {int(image[0, 0, 0]) for image in held_out}
    drawn = {int(found.draw(number, 0)[0, 0, 0]) for number in range(20)}
    assert len(unseen) == 2
    assert len(drawn) == 20
    assert not unseen & drawn


def test_batches_depend_on_nothing_but_seed_and_step(folder):
    images = ImageFolder(folder)
    whole = StyleTransferDataset(images, images, 32, 2, first_step=0, steps=6, seed=1)
    later = StyleTransferDataset(images, images, 32, 2, first_step=4, steps=2, seed=1)
    for kind in ("content", "style"):
        batch = whole[4][0][kind]
        assert batch.shape == (2, 32, 32, 3)
        assert batch.dtype == np.float32
        assert batch.min() >= 0.0
        assert batch.max() <= 1.0
        np.testing.assert_array_equal(batch, later[0][0][kind])
        assert np.abs(batch - whole[5][0][kind]).max() > 0


def test_styles_are_mixed_with_others_and_with_the_photos_own(folder):
    images = ImageFolder(folder)
    dataset = StyleTransferDataset(
        images, images, 32, 4, first_step=0, steps=60, seed=1, mixed=0.5
    )
    kinds = {"none": 0, "others": 0, "own": 0}
    for index in range(60):
        (batch,) = dataset[index]
        share = batch["mix"]
        assert share.shape == (4,)
        assert (share >= 0.0).all()
        assert (share < 1.0).all()
        own = np.array_equal(batch["style"][1::2], batch["content"][::2])
        twice = np.array_equal(batch["content"][1::2], batch["content"][::2])
        assert twice == own
        assert not own or not share[1::2].any()
        kinds["none" if not share.any() else "own" if own else "others"] += 1
    assert kinds["none"] > 20
    assert min(kinds["others"], kinds["own"]) > 8


def test_each_style_has_a_psi_of_its_own(folder):
    images = ImageFolder(folder)
    dataset = StyleTransferDataset(
        images, images, 32, 4, first_step=0, steps=60, seed=1, psi=(0.6, 1.05)
    )
    psi = np.concatenate([dataset[index][0]["psi"] for index in range(60)])
    assert psi.dtype == np.float32
    assert len(np.unique(psi)) > 200
    assert 0.6 <= psi.min() < 0.65
    assert 1.0 < psi.max() <= 1.05


def test_each_style_is_off_by_a_share_of_its_own(folder):
    images = ImageFolder(folder)
    dataset = StyleTransferDataset(
        images, images, 32, 4, first_step=0, steps=60, seed=1, jitter=0.25
    )
    jitter = np.concatenate([dataset[index][0]["jitter"] for index in range(60)])
    assert jitter.dtype == np.float32
    assert len(np.unique(jitter)) > 200
    assert -0.25 <= jitter.min() < -0.23
    assert 0.23 < jitter.max() <= 0.25


def test_the_window_lies_anywhere_within_larger_photos(folder):
    images = ImageFolder(folder)
    dataset = StyleTransferDataset(
        images, images, 32, 4, first_step=0, steps=60, seed=1, mixed=1.0, beyond=3
    )
    places, own = set(), 0
    for index in range(60):
        (batch,) = dataset[index]
        assert batch["content"].shape == (4, 35, 35, 3)
        assert batch["style"].shape == (4, 32, 32, 3)
        assert (batch["window"] == batch["window"][0]).all()
        top, left = batch["window"][0]
        places.add((int(top), int(left)))
        window = batch["content"][::2, top : top + 32, left : left + 32]
        own += np.array_equal(batch["style"][1::2], window)
    assert {place for pair in places for place in pair} == {0, 1, 2, 3}
    assert len(places) > 10
    assert own > 8


def test_drawings_are_pictures_of_many_kinds():
    drawings = [drawing(48, np.random.default_rng(seed)) for seed in range(100)]
    assert {(image.shape, image.dtype) for image in drawings} == {
        ((48, 48, 3), np.dtype(np.uint8))
    }
    np.testing.assert_array_equal(drawings[7], drawing(48, np.random.default_rng(7)))
    assert np.median([image.std() for image in drawings]) > 30
    means = np.array([image.mean(axis=(0, 1)) for image in drawings])
    assert means.std(axis=0).min() > 30
    edges = [np.diff(image.astype(float), axis=0) for image in drawings]
    roughness = np.abs(edges).mean(axis=(1, 2, 3))
    assert min(roughness) < 4
    assert max(roughness) > 30
    assert drawing(31, np.random.default_rng(0)).shape == (31, 31, 3)


def test_what_is_cut_out_of_an_image_lies_on_a_ground():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    shares = []
    for seed in range(100):
        cut = cut_out(image, np.random.default_rng(seed))
        assert (cut.shape, cut.dtype) == (image.shape, np.dtype(np.uint8))
        _, counts = np.unique(cut.reshape(-1, 3), axis=0, return_counts=True)
        kept = (cut == image).all(axis=-1).mean()
        shares.append((kept, counts.max() / counts.sum()))
    kept, ground = np.array(shares).T
    assert np.mean(kept > 0.1) > 0.5
    assert np.mean(ground > 0.2) > 1 / 3
    np.testing.assert_array_equal(
        cut_out(image, np.random.default_rng(7)),
        cut_out(image, np.random.default_rng(7)),
    )


@pytest.mark.parametrize(("drawn", "least", "most"), [(0, 0, 0), (0.25, 10, 40)])
def test_a_share_of_the_styles_is_drawn(tmp_path, drawn, least, most):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "flat.png")
    flat = ImageFolder(tmp_path)
    dataset = StyleTransferDataset(flat, flat, 32, 4, 0, 25, seed=1, drawn=drawn)
    styles = np.concatenate([dataset[index][0]["style"] for index in range(25)])
    assert least <= np.ptp(styles, axis=(1, 2)).any(axis=1).sum() <= most


def test_a_share_of_the_photos_in_their_own_style_is_drawn(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "flat.png")
    flat = ImageFolder(tmp_path)
    dataset = StyleTransferDataset(
        flat, flat, 32, 4, 0, 50, seed=1, mixed=1.0, drawn=0.5
    )
    drawn = 0
    for index in range(50):
        (batch,) = dataset[index]
        for first, second, own in zip(
            batch["content"][::2],
            batch["content"][1::2],
            batch["style"][1::2],
            strict=True,
        ):
            if np.ptp(first, axis=(0, 1)).any():
                drawn += 1
                np.testing.assert_array_equal(first, second)
                np.testing.assert_array_equal(first, own)
    # A quarter of a hundred pairs.
    assert 10 < drawn < 40


@pytest.mark.parametrize("shape", [(64, 64), (20, 300), (301, 64)])
def test_crops_of_any_image_have_the_size_asked_for(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for seed in range(20):
        assert crop(image, 48, np.random.default_rng(seed)).shape == (48, 48, 3)


def test_crops_are_mostly_of_nearly_the_whole_image():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None], (200, 200))
    image = np.repeat(ramp[..., None], 3, axis=-1)
    crops = (crop(image, 50, np.random.default_rng(seed)) for seed in range(400))
    sides = np.array([np.ptp(one) for one in crops])
    assert sides.min() < 75
    assert sides.max() > 190
    assert np.median(sides) == pytest.approx(50 * 4**0.5**0.5, rel=0.1)


def test_restyling_makes_six_kinds_of_styles():
    random = np.random.default_rng(0)
    ramp = np.linspace(60.0, 150.0, 48)[:, None, None] + np.array([0.0, 20.0, 40.0])
    image = (ramp + random.normal(0.0, 3.0, (48, 48, 3))).astype(np.uint8)
    names = ("same", "flat", "stretched", "swapped", "sharp", "tinted", "exposed")
    kinds = dict.fromkeys(names, 0)
    for seed in range(600):
        result = restyle(image, np.random.default_rng(seed))
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        colours = len(np.unique(result.reshape(-1, 3), axis=0))
        values = np.sort(result.reshape(-1, 3), axis=0)
        swapped = any(
            np.array_equal(np.sort(bands.reshape(-1)), values[:, 0])
            for band in range(3)
            for bands in (image[..., band], 255 - image[..., band])
        )
        if np.array_equal(result, image):
            kinds["same"] += 1
        elif colours <= 18:
            kinds["flat"] += 1
        elif swapped:
            kinds["swapped"] += 1
        elif result.min() == 0 and result.max() == 255:
            kinds["stretched"] += 1
        elif depends(result.reshape(-1, 1), image.reshape(-1, 1)):
            kinds["exposed"] += 1
        elif depends(result.reshape(-1, 3), image.reshape(-1, 3)):
            kinds["tinted"] += 1
        else:
            kinds["sharp"] += 1
            assert (
                np.abs(np.diff(result.astype(int), axis=0)).mean()
                > 1.2 * np.abs(np.diff(image.astype(int), axis=0)).mean()
            )
    # A sixth of the swaps leave all as it was, of which three in five are no negative.
    assert 265 < kinds.pop("same") < 350
    assert all(25 < count < 75 for count in kinds.values()), kinds


def depends(results: np.ndarray, values: np.ndarray) -> bool:
    """Whether each of the values [N, C] always gives the same result."""
    pairs = np.unique(np.concatenate([values, results], axis=1), axis=0)
    return len(pairs) == len(np.unique(values, axis=0))


def test_recolouring_changes_colours_half_of_the_time_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    results = [recolour(image, np.random.default_rng(seed)) for seed in range(200)]
    unchanged = sum(np.array_equal(image, result) for result in results)
    assert 70 < unchanged < 130
    assert all(result.shape == image.shape for result in results)


def is_grey(image: np.ndarray) -> bool:
    return not np.ptp(image, axis=-1).any()


def test_recolouring_leaves_few_without_colours():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    results = [recolour(image, np.random.default_rng(seed)) for seed in range(400)]
    assert 18 < sum(map(is_grey, results)) < 52


def test_softening_blurs_or_greys_some_photos_and_keeps_the_others():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    results = [soften(image, np.random.default_rng(seed)) for seed in range(400)]
    assert all(result.shape == image.shape for result in results)
    grey = [result for result in results if is_grey(result)]
    assert 18 < len(grey) < 52
    changed = [result for result in results if not np.array_equal(image, result)]
    blurred = [result for result in changed if not is_grey(result)]
    assert 90 < len(blurred) < 155
    assert all(result.std() < 0.8 * image.std() for result in blurred)
