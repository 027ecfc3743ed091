from .core.predict import predict as predict
from .core.recipe import make_recipe as make_recipe
from .data import load_digits as load_digits
from .estimator import DigitClassifier as DigitClassifier
from .evaluate import score as score
from .preprocess import split as split
from .runs.export import read as read
from .runs.folder import load_run as load_run
from .train import fit as fit

__version__: str
__all__: list[str]
