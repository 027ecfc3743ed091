# What is done again and again; the commands are explained in CONTRIBUTING.md. Needs the environment of the README's second command.
bin = .venv/bin/

.PHONY: test export refresh docs check ci

test:     ## run every notebook, as the README does
	$(bin)nbdev_test

export:   ## make the package, the README and its pictures from the notebooks, and the list of the small install
	$(bin)nbdev_export && $(bin)python tools/clean.py && $(bin)python tools/readme.py && $(bin)python tools/small.py && $(bin)python tools/pictures.py

refresh:  ## run every notebook and save its outputs
	$(bin)python tools/outputs.py refresh

docs:     ## build the site into _docs
	$(bin)python -m digit_recognizer.docs build

check:    ## the quick tests: structure, English, types, links
	$(bin)python -m pytest -q -m "not slow and not browser and not cluster" tests

ci:       ## everything, on a fresh clone of the last commit
	bash .ci/run
