"`python -m digit_recognizer`: the same as the command `digit_recognizer`. Written by hand, as `__init__` is."
from digit_recognizer.cli import main

if __name__=='__main__': main()
