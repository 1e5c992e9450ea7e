"""The attacks, one file per kind. Importing this package loads every file, which registers its
attacks in eval.attacks.registry; a new file needs no entry anywhere.
"""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
