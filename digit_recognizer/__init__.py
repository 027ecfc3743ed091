"""Handwritten digits, from raw CSV to a submission its author can defend. Written by hand, as `__main__` is;
the notebooks make all other modules.

The names of `__all__` are loaded when they are first used, so that importing the package takes no time.
"""
from importlib import import_module

__version__ = "0.3.0"

_MODULES = { # name -> where it is defined; type checkers read `__init__.pyi`
    'load_digits': 'data', 'split': 'preprocess', 'make_recipe': 'core.recipe', 'fit': 'train',
    'predict': 'core.predict', 'score': 'evaluate', 'load_run': 'runs.folder', 'read': 'runs.export',
    'DigitClassifier': 'estimator'}
__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__(): return sorted({*__all__, '__version__', *(name for name in globals() if name.startswith('__'))})
