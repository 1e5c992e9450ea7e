"""GRUN+: a gate that is fitted and not trained, and the threshold of a trained one."""
