"""Option groups of RMU and Adaptive RMU.

Upstream's flag names work (centerforaisafety/wmdp, rmu/unlearn.py; RebelsNLU-jaist/llm-unlearning).
"""

from dataclasses import dataclass

from rmu.losses import ADAPTIVE
from rmu.parameters import parameter_names
from unlearn.benchmarks.wmdp import name_forget_split
from unlearn.config.flags import Options, flag, group
from unlearn.config.options import DataOptions, RunOptions
from unlearn.config.upstream import UpstreamNames
from unlearn.training.options import (
    CORPUS_LINES,
    PromptOptions,
    TargetOptions,
    check_corpora,
    reads_corpora,
)
from unlearn.training.steering import MASKS

TUNERS = ("rmu", "adaptive_rmu")
MODULE = "{model_name}.model.layers[{layer_id}]"  # upstream's default, which it evaluates as code


@dataclass
class TopicOptions(Options):
    """Corpora: one value for all topics, or one for each"""

    forget_corpora: list[str] = flag(
        ["bio-forget-corpus", "cyber-forget-corpus"],
        "what to forget, one corpus a topic (unlearn/benchmarks/corpora.py)",
        role="key",
        file=True,
    )
    retain_corpora: list[str] = flag(["wikitext"], "what to keep", file=True)
    corpus_lines: str = flag(
        "parsed",
        "take the field `text` of a line, or the whole line, as upstream (but for "
        "bio-forget-corpus)",
        choices=CORPUS_LINES,
    )
    min_len: list[int] = flag([0], "characters that a text must exceed", minimum=0)
    max_len: int = flag(2000, "accepted and, as upstream, not used", role="volatile", minimum=0)
    forget_max_length: list[int] | None = flag(
        None,
        "tokens of a forget text (default: 512 for the first topic, 768 for the others)",
        minimum=2,
    )
    steering_coeffs: list[float] = flag([20.0], "length of the control vector", minimum=0)
    alpha: list[float] = flag([100.0], "weight of the retain term", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        check_corpora(self.forget_corpora, self.retain_corpora)
        topics = len(self.forget_corpora)
        for name in ("retain_corpora", "steering_coeffs", "alpha", "min_len", "forget_max_length"):
            values = getattr(self, name)
            if values is not None and len(values) not in (1, topics):
                raise ValueError(
                    f"--{name} has {len(values)} values and --forget_corpora {topics}: give one "
                    "for all topics, or one for each"
                )
            if values and len(set(values)) == 1:  # 350,350 is 350: the same run
                setattr(self, name, values[:1])

    def per_topic(self, name: str) -> list:
        """The values of one flag, one a topic."""
        values = getattr(self, name)
        return values * len(self.forget_corpora) if len(values) == 1 else values

    def forget_lengths(self) -> list[int]:
        """Tokens of a forget text, one number a topic."""
        if self.forget_max_length:
            return self.per_topic("forget_max_length")
        return [512, *[768] * (len(self.forget_corpora) - 1)]


@dataclass
class SteeringOptions(Options):
    """Steering"""

    tuner: str = flag(
        "rmu",
        "rmu: a fixed coefficient; adaptive_rmu: one that follows the norm of the states",
        choices=TUNERS,
        role="key",
    )
    layer_id: int = flag(
        7, "the steered layer: its output is driven to the control vector", minimum=0
    )
    layer_ids: list[int] | None = flag(
        None, "layers whose matrices move (default: layer_id - 2, - 1 and itself)", minimum=0
    )
    params: list[str] = flag(["mlp.down_proj"], "the matrices of those layers that move, by name")
    param_ids: list[int] | None = flag(
        None,
        "upstream's numbers of them, in the order of a Llama layer: 6 is mlp.down_proj",
        minimum=0,
    )
    adaptive: str = flag(
        "none",
        "coefficient from the norms of the first batch (frozen model, or updated as upstream), of "
        "each text (paper) or of each token",
        choices=ADAPTIVE,
    )
    scale: float = flag(5.0, "adaptive: coefficient / norm", above=0)
    adaptive_bos: str = flag(
        "exclude",
        "norms without the BOS token, or with it, as upstream",
        choices=("exclude", "include"),
    )
    rmu_mask: str = flag(
        "valid", "errors on tokens, or (none) on padding too, as upstream", choices=MASKS
    )
    padding: str = flag(
        "right",
        "upstream: on the left, with EOS, and counted in errors and norms, as BOS is",
        choices=("right", "upstream"),
    )
    module_str: str = flag(
        MODULE, "upstream's, which it evaluates as code; here --layer_id says it", role="volatile"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.module_str != MODULE:
            raise ValueError(
                f"--module_str {self.module_str} is code, and none is evaluated here; name the "
                "layer: --layer_id 7"
            )
        if (self.adaptive == "none") != (self.tuner == "rmu"):
            raise ValueError(
                f"--tuner {self.tuner} does not go with --adaptive {self.adaptive}: rmu has none, "
                f"adaptive_rmu one of {', '.join(ADAPTIVE[1:])}"
            )
        if self.padding == "upstream":
            self.rmu_mask = "none"
            self.adaptive_bos = "include"
        if self.param_ids:
            self.params = parameter_names(self.param_ids)
        self.param_ids = None
        if self.layer_ids == list(range(self.layer_id - 2, self.layer_id + 1)):
            self.layer_ids = None


@dataclass
class UpdateOptions(Options):
    """Updates"""

    max_num_batches: int = flag(80, "updates, over all topics together", minimum=1)
    batch_size: int = flag(
        4, "texts to forget in an update; as many to keep", aliases=("--batch",), minimum=1
    )
    micro_batch: int = flag(
        0, "texts per forward and process (0: all at once)", role="volatile", minimum=0
    )
    lr: float = flag(
        5e-5, "learning rate (AdamW, constant, eps 1e-6, no decay, no clipping)", above=0
    )
    optimizer: str = flag(
        "adamw",
        "adamw_hf: eps before the bias correction, as transformers' old AdamW, upstream's",
        choices=("adamw", "adamw_hf"),
    )
    save_steps: list[int] = flag([], "updates after which the model is saved besides", minimum=1)
    checkpoint_every: int = flag(100, "updates between checkpoints", role="volatile", minimum=1)
    output_dir: str | None = flag(None, "save the model in this folder too", role="volatile")


def choose_tuner(_values: dict, given: dict) -> dict:
    """Adaptive RMU where a line has --scale, which nothing else reads: its code's command."""
    return {"tuner": "adaptive_rmu"} | given if "scale" in given else given


@dataclass
class RmuCommandConfig:
    """What RMU is configured by."""

    RECIPE = "rmu"
    UPSTREAM = UpstreamNames(translate=choose_tuner)

    run: RunOptions = group(RunOptions)
    data: DataOptions = group(DataOptions, benchmark="wmdp")
    target: TargetOptions = group(TargetOptions)
    prompts: PromptOptions = group(PromptOptions)
    topics: TopicOptions = group(TopicOptions)
    steering: SteeringOptions = group(SteeringOptions)
    updates: UpdateOptions = group(UpdateOptions)

    def __post_init__(self):
        if not reads_corpora(self.data):
            raise ValueError(
                f"--benchmark {self.data.benchmark}: RMU steers on corpora, which wmdp alone has; "
                "take baselines.train or grun.train"
            )
        self.target.split = name_forget_split(self.topics.forget_corpora)

    @staticmethod
    def recipe_cell(values: dict) -> dict:
        return {name: values[name] for name in ("benchmark", "model", "tuner")}
