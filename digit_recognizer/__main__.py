"`python -m digit_recognizer`: the same as the command `digit_recognizer`. Written by hand; the notebooks make all other modules."
from digit_recognizer.cli import main

if __name__=='__main__': main()
