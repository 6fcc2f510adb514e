"""Where things are in a workspace. All paths are relative to the run's root; one place decides each name."""

from __future__ import annotations

POOL_INDEX = "index/pool.parquet"
"""image (string, below dataset.images), size (int64), etag (string), width, height (int32), group (string); by image."""
TEST_INDEX = "index/test.parquet"
"""As the pool's index, for the sealed test set."""
POOL_TRUTH = "index/truth.parquet"
"""image (string), class (string, of the run), x_min, y_min, x_max, y_max (float64 pixels of the original image),
truncated (float64), occluded (int32; > 0 is KITTI's `difficult`); one row a box, in the order of the pool's index."""
TEST_TRUTH = "index/test_truth.parquet"
"""As the pool's truth, for the sealed test set. Only evaluate and report read it."""
POOL_EMBEDDINGS = "index/embeddings.parquet"
"""image (string), embedding (fixed-size list of float32): classical features, for the first batch."""
LEARNED_EMBEDDINGS = "index/learned/embeddings.parquet"
"""As POOL_EMBEDDINGS, of the network that `embed` has trained on the pool itself."""
HASHES = "index/hashes.parquet"
"""image (string), hash (uint64): perceptual hashes of the pool, in the order of its index."""
DATASET = "index/dataset.json"
"""classes (list, in order), classMapping, images, test (counts), boxes, testBoxes (by class), problems (by kind), and
split: what the test set was drawn by."""
PROBLEMS = "index/problems.parquet"
"""image, kind, detail, action (all strings): everything that was left out or repaired, and why."""
SCAN = "index/scan"
"""Folder of prepare's own memory: what was found in every image file, in parts, so that it is decoded only once."""
PREDICTIONS = ".lightly/predictions"
TASK = "detections"
"""Name of the prediction task: `.lightly/predictions/detections/<image with .json>`."""
METADATA = ".lightly/metadata"
"""Folder of Lightly's metadata: `schema.json`, and `<image with .json>` for every image of the pool."""
RELEVANT_FILES = ".lightly/relevant_filenames.txt"
"""Images that the Lightly Worker may look at, a path a line: those of the pool, never the sealed test set."""
EMBEDDINGS_CSV = ".lightly/embeddings/embeddings.csv"
"""Embeddings that are given to the Lightly Worker: filenames, embedding_0, …, labels (0)."""
FETCHED = "index/fetched"
"""Folder of what `fetch` pinned: `pretrained/<file>` (one file) and `spec/<file>` (one file)."""
PRETRAINED = f"{FETCHED}/pretrained"
EXPERIMENT_SPEC = f"{FETCHED}/spec"
REPORT = "report/index.html"
CONTROL = "control"
"""Folder of the comparison arm's own files: `control/cycles/<ccc>/…` in the place of `cycles/<ccc>/…`."""


def run_root(namespace: str, name: str) -> str:
    """Root of a run, below the workspace's URI."""
    return f"runs/{namespace}/{name}"


def cycle(number: int) -> str:
    """Folder of a cycle."""
    return f"cycles/{number:03d}"


def selection(number: int) -> str:
    """image, rank (int32, from 0), score (float64), rule, why (strings), group (string)."""
    return f"{cycle(number)}/selection.parquet"


def selection_input(number: int) -> str:
    """The StepInput that the picks were made from, so that they can be made again."""
    return f"{cycle(number)}/select/input.json"


def selection_sources(number: int) -> str:
    """Files that the picks were made from: {name: SHA-256}, those of the user's as dataset:<path>."""
    return f"{cycle(number)}/select/sources.json"


def worker_artifacts(number: int) -> str:
    """Folder of what the Lightly Worker left: report, log, corruptness check."""
    return f"{cycle(number)}/select/lightly"


def annotated(number: int) -> str:
    """image (string), boxes (int32), seconds (float64): what was labelled in this cycle, in order."""
    return f"{cycle(number)}/annotate/images.parquet"


def labels(number: int) -> str:
    """Folder of this cycle's new labels: KITTI, one `<image with .txt>` an image, classes of the run."""
    return f"{cycle(number)}/labels"


def model(number: int) -> str:
    """The model: weights, classes and input size in one file."""
    return f"{cycle(number)}/train/model.npz"


def model_folder(number: int, step: str) -> str:
    """Folder of a model that a foreign trainer (TAO, Custom) made in `train`, `prune` or `retrain`: exactly one file,
    under the name that the trainer gave it.
    """
    return f"{cycle(number)}/{step}/model"


def compressed_model(number: int, step: str) -> str:
    """A model of the embedded detector that `prune` or `retrain` made."""
    return f"{cycle(number)}/{step}/model.npz"


def checkpoints(number: int, step: str) -> str:
    """Folder of the newest checkpoints of a foreign trainer that is at work: another attempt goes on from there."""
    return f"{cycle(number)}/{step}/checkpoints"


def logs(number: int, step: str, shard: int | None = None) -> str:
    """Folder of what a foreign program left: `<stage>.log`, its specs, status and tables."""
    folder = f"{cycle(number)}/{step}/logs"
    return folder if shard is None else f"{folder}/{shard:05d}"


def exports(number: int) -> str:
    """Folder of exported files."""
    return f"{cycle(number)}/export/files"


def tradeoff(number: int) -> str:
    """The table of `prune` as JSON: a list of PruneRow."""
    return f"{cycle(number)}/prune/tradeoff.json"


def assessment(number: int) -> str:
    """As `evaluation`, of the compressed model."""
    return f"{cycle(number)}/assess/metrics.json"


def history(number: int, step: str = "train") -> str:
    """How the training, or the retraining, went: a line of JSON an epoch, with iteration, epoch, loss, learningRate, and
    mAP50 on the validation images where they were looked at.
    """
    return f"{cycle(number)}/{step}/history.jsonl"


def evaluation(number: int) -> str:
    """All metrics, per class, with precision and recall curves."""
    return f"{cycle(number)}/evaluate/metrics.json"


def test_detections(number: int) -> str:
    """image, class (string), x_min, y_min, x_max, y_max, score (float64): what `evaluate` has found in the sealed test
    set, so that two models can be compared image by image.
    """
    return f"{cycle(number)}/evaluate/detections.parquet"


def inference_labels(number: int) -> str:
    """Folder of KITTI predictions (16 columns), one `<image with .txt>` for every image of the pool."""
    return f"{cycle(number)}/infer/labels"


def inference_embeddings(number: int, shard: int) -> str:
    """image, embedding (fixed-size list of float32), model (string): the detector's features of one shard."""
    return f"{cycle(number)}/infer/embeddings/{shard:05d}.parquet"


def predictions(number: int, shard: int) -> str:
    """image, class (string), x_min, y_min, x_max, y_max, score (float64): one row a box, of one shard."""
    return f"{cycle(number)}/convert/predictions/{shard:05d}.parquet"


def result(number: int, step: str, shard: int | None = None) -> str:
    """The step's result, written last."""
    folder = step if step in ("prepare", "fetch", "embed", "register") else f"{cycle(number)}/{step}"
    return f"{folder}/result.json" if shard is None else f"{folder}/results/{shard:05d}.json"
