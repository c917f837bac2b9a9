"""The words of the commands, with their defaults and meanings: the same in Python, on the command line, in a run.

Plain frozen data; nothing here imports more than the standard library, so that `sat2map --help` answers at once.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from sat2map.errors import BadOption

Options = TypeVar("Options")

SMALLEST = 16
"""Side in pixels of the smallest training patches: of smaller ones nothing is left in the deep levels of a network."""


@dataclass(frozen=True)
class Words:
    """Options that are made only of the words their types allow, and of one word where several may come."""

    def __post_init__(self) -> None:
        check_words(self)

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


@dataclass(frozen=True, kw_only=True)
class ReadOptions(Words):
    """How imagery and labels are read.

    Attributes:
        labels: Where the labels are, if not beside the images: a folder of masks, a label raster, a vector file,
            a folder of such.
        legend: A file with class names and colours (JSON, CSV or text).
        ignore: Class names that are not learnt and not scored.
        column: The column of a vector file that names the class; without one all shapes are one class.
        line_width: Width in map units to which lines and points are widened.
        rest: What lies outside all polygons. `auto`: background if all shapes are one class, else unlabelled.
        bands: Which bands to use, by name or by number from 1.
        resolution: Pixel size in map units to which all images are resampled.
        resize: Side in pixels to which all images are resized (their shorter side).
        layout: How images and labels are stored; found out where it is `auto`.
        output: What is to be mapped: classes, or the labels as a `picture`. `auto`: pictures where they hold too many
            colours, or lie side by side with the images.
        reverse: In side-by-side pictures the map is on the left.
        image_key: Name of the image array in HDF5 files.
        mask_key: Name of the mask array in HDF5 files.
    """

    labels: str | None = None
    legend: str | None = None
    ignore: tuple[str, ...] = ("unlabeled", "unlabelled", "void", "ignore", "ignored")
    column: str | None = None
    line_width: float = 2.0
    rest: Literal["auto", "background", "unlabelled"] = "auto"
    bands: tuple[str, ...] = ()
    resolution: float | None = None
    resize: int | None = None
    layout: Literal["auto", "folders", "side-by-side", "hdf5", "vectors"] = "auto"
    output: Literal["auto", "classes", "picture"] = "auto"
    reverse: bool = False
    image_key: str | None = None
    mask_key: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "line_width", "resolution", "resize")
        if self.resolution and self.resize:
            raise BadOption("--resolution and --resize exclude each other: choose a pixel size, or a picture size.")


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Words):
    """How places are divided into training, validation and test.

    Attributes:
        split: `groups` by folder, `blocks` by blocks of ground, `files` by picture, `random` by patch (scores will be
            too good: neighbours leak). `auto`: groups if there are three of them apart from each other, blocks if the
            images are georeferenced or few, else files.
        val: Share of the ground for validation, or names of groups.
        test: Share of the ground for the test, or names of groups.
        block: Side of a block of ground in pixels; chosen to give about forty if not given.
        buffer: Width in pixels of the strip left out between blocks of different parts; a tenth of a block if none is.
        check_leaks: Look whether the same ground lies in several parts, by place and by what images show, and warn.
    """

    split: Literal["auto", "groups", "blocks", "files", "random"] = "auto"
    val: tuple[str, ...] = ("0.1",)
    test: tuple[str, ...] = ("0.15",)
    block: int | None = None
    buffer: int | None = None
    check_leaks: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "block")
        for name in ("val", "test"):
            value = getattr(self, name)
            if isinstance(value, (float, int)):
                object.__setattr__(self, name, (str(value),))


@dataclass(frozen=True, kw_only=True)
class LearnOptions(Words):
    """What is trained, and how.

    Attributes:
        network: Name of a network; `sat2map networks` lists them. `unet` for classes, `pix2pix` for pictures if not
            given.
        encoder: Name of its encoder: any of segmentation_models.pytorch or timm.
        encoder_weights: `none`, `imagenet` (downloaded), or a file of encoder weights.
        width: Filters of the first level, for networks without an encoder.
        loss: Sum of losses with weights, such as `dice + 0.5*focal`. `cross_entropy + dice` for classes, `100*l1` for
            pictures if not given.
        class_weights: Weight rare classes more in the loss: `balanced` by the root of their inverse frequency.
        balance: Draw patches with rare classes more often.
        patches: `random` crops, the non-overlapping `grid`, or one random crop of each `picture` in an epoch (with
            `resize=286` and `size=256`, the jitter of pix2pix).
        size: Side of a training patch in pixels, as the network sees it.
        scale: By how much pixels are averaged down before the network, and its scores brought back up: more ground is
            seen in the same time, with less detail. Chosen from 1 and 1.5 by how fine the labels are if not given.
        members: How many networks learn side by side, each from `batch` patches of a step, and decide together: the
            map is of the mean of their probabilities. For classes.
        coarse_first: Share of the training, from its start, in which patches are shown at half their size, so that
            more of them fit into the same time. If not given, 0.5 for classes with `minutes` and without `patience`,
            `plateau` or a critic, else 0.
        whiten: Begin with filters taken from the training imagery in the first convolution, in place of random ones
            (weights that are given stay). If not given, for classes.
        batch: Patches in a step, for each of the `members`.
        epochs: How often the training ground is gone through. 50 if neither epochs nor minutes are given.
        minutes: How long to train; the learning rate is at its end when the time is.
        lr: Peak learning rate. 1e-3 for classes, 2e-4 for pictures if not given.
        optimizer: `adamw` (betas of 0.5 and 0.99), `adam`, `gan-adam` (Adam with betas of 0.5 and 0.999) or `sgd`.
            `adamw` for classes, `gan-adam` for pictures if not given.
        weight_decay: Weight decay of `adamw` and `sgd`.
        schedule: Learning rate over time: `cosine` and `constant` with a warm-up, `linear` (down to 0 in the second
            half), or `plateau` (a tenth when more than five epochs bring no gain). `cosine` for classes, `linear` for
            pictures if not given.
        patience: Stop after this many epochs without gain on validation.
        average: Validate and keep a moving average of the weights.
        save_every: Keep a checkpoint every so many epochs.
        sample_every: Draw image, truth and prediction of some places every so many epochs.
        seed: Where all random numbers start.
        precision: `auto` takes bf16 where the processor or GPU is made for it.
        device: `auto`, `cpu`, `cuda` or `mps`.
        devices: How many devices, or processes on a CPU; under torchrun on each machine.
        workers: Threads that read and augment patches.
        augment: Whether patches are augmented at all.
        rotate: Largest free rotation in degrees.
        rotate90: Rotate by quarter turns.
        flip: Mirror.
        shift: Largest shift, as a share of the patch.
        zoom: Largest zoom: 0.2 is a scale from 1/1.2 to 1.2.
        brightness: Strength of brightness changes, in standard deviations of a band.
        contrast: Strength of contrast changes, as a share.
        warp: Share of the patches to which free rotation, shift and zoom are done; the others stay as sharp as the
            images that are mapped later.
        calibration: How probabilities of classes are corrected on validation, so that of pixels mapped with 80 % about
            80 % are right: one `temperature` for all (the map stays the same), a scale and shift of each class
            (`vector`), or `none`.
        tune: Options to search, as `name=value,value`; `lr` and `batch` alone are searched by themselves.
        resume: Go on with an interrupted run.
        overwrite: Replace a run that is there.
    """

    network: str | None = None
    encoder: str = "resnet34"
    encoder_weights: str = "none"
    width: int | None = None
    loss: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    balance: bool = False
    patches: Literal["random", "grid", "picture"] = "random"
    size: int = 256
    scale: float | None = None
    members: int = 1
    coarse_first: float | None = None
    whiten: bool | None = None
    batch: int = 8
    epochs: int | None = None
    minutes: float | None = None
    lr: float | None = None
    optimizer: Literal["adamw", "adam", "gan-adam", "sgd"] | None = None
    weight_decay: float = 0.05
    schedule: Literal["cosine", "linear", "plateau", "constant"] | None = None
    patience: int | None = None
    average: bool = True
    save_every: int | None = None
    sample_every: int = 1
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    workers: int = 1
    augment: bool = True
    rotate: float = 0.0
    rotate90: bool = True
    flip: bool = True
    shift: float = 0.0
    zoom: float = 0.4
    brightness: float = 0.2
    contrast: float = 0.15
    warp: float = 0.5
    calibration: Literal["temperature", "vector", "none"] = "temperature"
    tune: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            self,
            "width",
            "size",
            "members",
            "batch",
            "epochs",
            "minutes",
            "lr",
            "patience",
            "save_every",
            "sample_every",
            "devices",
            "workers",
        )
        if self.size < SMALLEST:
            raise BadOption(f"--size is {self.size}; a patch must have {SMALLEST} pixels a side or more.")
        if self.scale is not None and not 1 <= self.scale <= 16:
            raise BadOption(f"--scale is {self.scale}; it must be from 1 (every pixel is seen) to 16.")
        if self.coarse_first is not None and not 0 <= self.coarse_first < 1:
            raise BadOption(f"--coarse-first is {self.coarse_first}; it must be from 0 to less than 1.")
        for name in ("rotate", "shift", "zoom", "brightness", "contrast", "warp", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise BadOption(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class CriticOptions(Words):
    """Whether and how a second network, the critic, judges the maps in training.

    Attributes:
        adversarial: Weight of the critic's judgement beside the loss, 1 as in pix2pix; 0 trains without a critic.
        criterion: How it judges: binary cross-entropy, `least-squares` or `hinge`.
        critic_levels: How far it sees: 3 halvings are patches of 70 pixels, 4 are 142.
        critic_lr: Its learning rate.
        spectral_norm: Bound its weights by their spectral norm in place of batch normalisation.
        r1: Weight of the penalty on its gradient at true maps.
        replay: How many earlier maps are kept to be shown to it again.
    """

    adversarial: float = 0.0
    criterion: Literal["bce", "least-squares", "hinge"] = "bce"
    critic_levels: Literal[3, 4] = 3
    critic_lr: float = 2e-4
    spectral_norm: bool = False
    r1: float = 0.0
    replay: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "critic_lr")
        for name in ("adversarial", "r1", "replay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadOption(f"--{name} is {getattr(self, name)}; it must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ReadOptions, SplitOptions, LearnOptions, CriticOptions):
    """All words of `train`."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(Words):
    """How a network is run over scenes.

    Attributes:
        window: Side in pixels of the windows the network sees; chosen for the scene if not given.
        overlap: Width in pixels over which neighbouring windows are blended; the model's own if not given.
        batch: Windows in a step of the network; what suits the device if not given.
        runtime: What runs the network; `auto` takes OpenVINO on a processor, torch on a GPU.
        precision: `auto` takes bf16 where the processor is made for it.
        tta: Show each window mirrored (`flips`), or turned too (`d4`), and average: better, and 4 or 8 times slower.
    """

    window: int | None = None
    overlap: int | None = None
    batch: int | None = None
    runtime: Literal["auto", "openvino", "torch"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    tta: Literal["none", "flips", "d4"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "window", "batch")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(RuntimeOptions):
    """How a scene becomes a map.

    Attributes:
        memory: About how much memory to use, such as 2GB; wide scenes are cut into columns to keep to it.
        block: Side in pixels of the blocks of work; as large as the memory allows if not given.
        aoi: A vector file: only the ground inside its polygons is mapped.
        bands: Which bands of the scene the model's bands are, by name or by number from 1.
        resample: Bring the scene to the model's resolution first; the map is on that grid, or on the scene's own.
        match_histogram: Bring the brightness of each band to that of the training images first.
        uncertainty: More bands for the file of --confidence: `entropy` of the probabilities, `margin` (1 less the lead
            of the first class over the second), `novelty` (how unlike all training ground; 0.5 is the limit).
        abstain: Pixels whose largest probability is below this are mapped as `unsure`, a class of its own.
        keep_going: Parts that cannot be read become nodata and are listed; of many scenes, those that cannot be
            read or do not fit the model are left out.
        engine: Where blocks are computed.
        workers: How many processes compute, with the engine `ray`; one on each machine, or GPU, if not given.
        address: The Ray cluster to use; a local one is started if not given.
    """

    memory: str = "4GB"
    block: int | None = None
    aoi: str | None = None
    bands: tuple[str, ...] = ()
    resample: Literal["no", "model", "scene"] = "no"
    match_histogram: bool = False
    uncertainty: tuple[Literal["entropy", "margin", "novelty"], ...] = ()
    abstain: float | None = None
    keep_going: bool = False
    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "block", "workers")
        if self.block is not None and self.block < 8:
            raise BadOption(f"--block is {self.block}; blocks of less than 8 pixels never come to an end.")
        if self.abstain is not None and not 0 < self.abstain <= 1:
            raise BadOption(f"--abstain is {self.abstain}; it must be a probability above 0 and up to 1.")
        bytes_of(self.memory)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ReadOptions, RuntimeOptions):
    """How a model is scored.

    Attributes:
        split: Which part of the split that was written at training; `all` scores every labelled pixel.
        leaks: What to do where ground of the test is in the training too: `refuse` to score it, or `accept` it.
        feature_weights: Files of the weights by which pictures are compared (Inception-v3, AlexNet); downloaded if not
            given.
    """

    split: Literal["test", "val", "train", "all"] = "test"
    leaks: Literal["refuse", "accept"] = "refuse"
    feature_weights: tuple[str, ...] = ()


def bytes_of(text: str) -> int:
    """Return how many bytes are meant by a text such as `512MB`, `2GB` or `1.5 GiB`.

    Raises:
        BadOption: It is no amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise BadOption(f"--memory is {text!r}; it must be an amount such as 512MB or 2GB.")
    unit = 1024 if match[3] else 1000
    return int(float(match[1]) * unit ** " KMGT".index(match[2].upper() or " "))


def check_words(options: object) -> None:
    """Refuse words that the types of the options do not allow; a text where several may come becomes the only one.

    Raises:
        BadOption: A word is none of those that there are.
    """
    for name, hint in get_type_hints(type(options)).items():
        value, several, allowed = getattr(options, name), get_origin(hint) is tuple, _allowed(hint)
        if several and isinstance(value, str):
            value = (value,)
            object.__setattr__(options, name, value)
        given = value if several and isinstance(value, (tuple, list)) else (value,)
        wrong = [word for word in given if word not in allowed] if allowed else []
        if wrong:
            words = ", ".join(str(word) for word in allowed if word is not None)
            raise BadOption(f"--{name.replace('_', '-')} is {wrong[0]!r}; it must be one of: {words}.")


def _allowed(hint: Any) -> tuple[Any, ...]:
    """Return the words that a type allows, and None if it may be that; none if it allows any."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = get_args(hint)
    words = tuple(word for part in parts for word in _allowed(part))
    return (*words, None) if words and type(None) in parts else words


def check_positive(options: object, *names: str) -> None:
    """Refuse options that are given but not above zero.

    Raises:
        BadOption: One is not.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise BadOption(f"--{name.replace('_', '-')} is {value}; it must be above 0.")


def part_of(kind: type[Options], options: Any) -> Options:
    """Return those of the options that belong to `kind`."""
    names = [f.name for f in fields(cast(Any, kind))]
    return kind(**{name: getattr(options, name) for name in names})
