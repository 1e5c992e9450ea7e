"""What grun.train takes by default."""

from grun.train import default_layers


def test_default_layers_are_the_papers():
    """Last, 7th and 12th from last of 32 layers, and the same relative depth elsewhere."""
    assert default_layers(32) == [20, 25, 31]
    assert default_layers(8) == [5, 6, 7]
    assert default_layers(2) == [1]
