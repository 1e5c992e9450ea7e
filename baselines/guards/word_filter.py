"""A filter of the words of names: it also finds a last name that stands alone."""

from dataclasses import dataclass

from baselines.guards.base import FilterInputs, input_filter
from baselines.guards.name_filter import NameFilter
from unlearn.synthetic.names import PARTICLES


@input_filter("words")
@dataclass
class WordFilter(NameFilter):
    """Refuses on each word of a forget author's name that is in no retain author's name."""

    @classmethod
    def find_names(cls, inputs: FilterInputs) -> set[str]:
        """Those words, without particles such as "van"."""
        retain_words = {word for e in inputs.retain if e.entity for word in e.entity.split()}
        words = {word for name in super().find_names(inputs) for word in name.split()}
        return words - retain_words - PARTICLES
