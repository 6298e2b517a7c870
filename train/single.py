"""One network for one style (Johnson et al. 2016, arXiv 1603.08155)."""

import dataclasses
from pathlib import Path

import numpy as np
from keras import ops

from sfumato.images import decode, resize, to_float
from sfumato.layers import StyleAffine
from sfumato.model import STYLE_SIZE, StyleModel
from train import losses
from train.data import ImageFolder, StyleTransferDataset, crop
from train.fit import SAMPLES, StyleTransfer, Task, distribution, train
from train.recipe import Loss, Recipe
from train.run import TrainingError
from train.sheet import sheet


class PhotoDataset(StyleTransferDataset):
    """Photos without paintings: batches {"content"}."""

    def __init__(self, photos: ImageFolder, *numbers: int):
        super().__init__(photos, photos, *numbers)

    def images(self, step: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng([self.seed, step])
        return {"content": to_float(np.stack(self.photos(step, random)))}


class OneStyle(StyleTransfer):
    """{"content"} photos [B, H, W, 3] to photos in the one `style`, uint8 [h, w, 3],
    with StyleTransfer's loss. Only the transformer learns: the model's predictor is
    made to find the embedding 0 in every picture."""

    def __init__(
        self, model: StyleModel, loss: Loss, style: np.ndarray, replicas: int = 1
    ):
        super().__init__(model, loss, replicas)
        model.predictor.trainable = False
        embedding = model.predictor.get_layer("embedding")
        embedding.set_weights([np.zeros_like(w) for w in embedding.get_weights()])
        self.embedding_size = model.manifest["embedding_size"]
        seen = self.features(to_float(style)[None])
        grams = {layer: losses.gram_matrix(seen[layer]) for layer in loss.style_layers}
        # A closure, because Keras would wrap and track the tensors.
        self.grams = lambda: grams

    def embed(self, inputs, training):
        return ops.zeros((ops.shape(inputs["content"])[0], self.embedding_size))

    def targets(self, x):
        content = self.features(x["content"])[self.weights_of.content_layer]
        return content, self.grams()


def single(
    recipe: Recipe,
    photo_folder: Path,
    style: Path,
    out: Path,
    resume: bool = False,
    start: Path | None = None,
    log_every: int = 100,
    save_every: int = 500,
) -> bool:
    """Trains a transformer for the style that the picture `style` shows; True when all
    of the recipe's steps are done, False when stopped. See train.fit.train for OUT.

    OUT/model is a StyleModel like any other, so that whatever plays one plays it; but
    every embedding gives the one style, which its manifest names as "one_style".
    start: the folder of a model whose transformer has the recipe's architecture;
    training then begins with that model's own rendering of the style.
    """
    photos = ImageFolder(photo_folder)
    strategy = distribution()
    picture = resize(decode(style), STYLE_SIZE)
    earlier = None
    if start is not None and not resume:
        earlier = _rendering(start, picture, recipe)
    photos.report_skipped()
    random = np.random.default_rng(recipe.seed)
    size = max(phase.size for phase in recipe.phases)
    samples = [crop(image, size, random) for image in photos.hold_out(SAMPLES, random)]
    shown = crop(picture, min(size, STYLE_SIZE), random)

    def trainer(model: StyleModel, replicas: int) -> OneStyle:
        model.manifest["one_style"] = style.stem
        return OneStyle(model, recipe.loss, picture, replicas)

    task = Task(
        recipe,
        trainer=trainer,
        dataset=lambda phase, first, steps: PhotoDataset(
            photos, phase.size, phase.batch, first, steps, recipe.seed
        ),
        sheet=lambda model: sheet(model, samples, [shown]),
        card={"photos": len(photos.paths), "style": style.stem},
        start=earlier,
        source=style.stem,
    )
    return train(task, out, resume, strategy, log_every, save_every)


def _rendering(folder: Path, style: np.ndarray, recipe: Recipe) -> StyleModel:
    """A model of the recipe's whose transformer paints under any embedding what the
    one in `folder` paints in this style."""
    earlier = StyleModel.load(folder)
    wanted = dataclasses.asdict(recipe.transformer)
    if earlier.manifest["transformer"] != wanted:
        raise TrainingError(
            f"The transformer in {folder} is {earlier.manifest['transformer']}, the "
            f"recipe {recipe.name} wants {wanted}: weights of one do not fit the other."
        )
    embedding = earlier.embed(style)
    model = StyleModel(recipe.predictor, recipe.transformer)
    model.transformer.set_weights(earlier.transformer.get_weights())
    for layer in model.transformer.decoder.layers:
        if isinstance(layer, StyleAffine):
            for kernel, bias in (
                (layer.gamma_kernel, layer.gamma_bias),
                (layer.beta_kernel, layer.beta_bias),
            ):
                bias.assign_add(embedding @ ops.convert_to_numpy(kernel))
                kernel.assign(ops.zeros_like(kernel))
    return model
