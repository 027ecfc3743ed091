"""Generated forms: how many cells are found, how many of their digits are read, and what a page costs.

    python benchmarks/forms.py            # 1,000 forms, half an hour; interrupted, it resumes
    python benchmarks/forms.py --small    # ten forms
    python benchmarks/forms.py --sheets FOLDER --rapidocr PYTHON    # and the ids of real sheets, also by RapidOCR

Five styles of form are drawn with print around them and with the held-out digits, which the shipped model never learnt
from. Each form is turned by up to 15 degrees and scanned (150, 200 or 300 dpi, noise, blur, grey paper, JPEG); every
fourth is photographed on a table instead. The same number draws the same form. Neither the forms nor the digits that
were used while the reader was made are measured; forms 1000 to 6999 were, and showed faults that were mended, and some of
their digits can come again.
"""
import io
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from digit_recognizer.data import load_digits
from digit_recognizer.evaluate import Score
from digit_recognizer.images.forms import find_projection, project
from digit_recognizer.images.read import _open_pages as open_pages, page_names, read_picture
from digit_recognizer.images.rejector import load_rejector
from digit_recognizer.runs.export import small_model
from digit_recognizer.runs.folder import pretrained_run
from results import begun, command, result_file, write_result

STYLES = 'comb', 'single boxes', 'table', 'frame on squared paper', 'pale or dotted walls'
WIDE, HIGH = 5.8, 8.3 # inches: A5
WORDS = 'Name Date Number of the student Write one digit in each box sample answer page the quick brown fox sum mark read'.split()


@dataclass
class Form:
    "A drawn form: the picture, and for each cell its middle in the picture, its side in pixels and its digit (-1: blank)."
    picture: Image.Image
    style: str
    photo: bool
    points: np.ndarray
    side: float
    digits: list


def _words(draw, rng, dpi, top, bottom, left=.5):
    "Lines of print from top to bottom, in inches."
    size = rng.uniform(.11, .15)
    font = ImageFont.load_default(round(size*dpi))
    for y in np.arange(top, bottom-size, 1.5*size):
        text = ' '.join(rng.choice(WORDS, 40))
        while draw.textlength(text, font)>(WIDE-left-.5)*dpi: text = text.rpartition(' ')[0]
        draw.text((left*dpi, y*dpi), text, 0, font)


def _write(page, image, cell, rng, dpi):
    "A digit of MNIST in a cell, in inches; it can reach over the wall a little."
    left, top, right, bottom = cell
    ink = image[np.ix_(image.any(1), image.any(0))]
    size = rng.uniform(.55, .78)*(bottom-top)*dpi
    zoom = min(size/ink.shape[0], 1.02*(right-left)*dpi/ink.shape[1])
    small = Image.fromarray(ink).resize([max(2, round(n*zoom)) for n in ink.shape[::-1]], Image.Resampling.BICUBIC)
    room = (right-left)*dpi-small.width, (bottom-top)*dpi-small.height
    x, y = (round(start*dpi+rng.normal(.5, .11)*free) for start, free in zip((left, top), room))
    pen = np.asarray(small, float)/255*rng.uniform(.75, 1)
    here = np.s_[y:y+small.height, x:x+small.width]
    page[here] = np.minimum(page[here], 255*(1-pen))


def _wall(draw, ends, dpi, grey, dotted, thick):
    "A line between two points, in inches."
    (x0, y0), (x1, y1) = ends
    if not dotted: return draw.line([x0*dpi, y0*dpi, x1*dpi, y1*dpi], grey, thick)
    n = max(2, round(max(abs(x1-x0), abs(y1-y0))/.022))
    for t in np.linspace(0, 1, n):
        x, y = (x0+(x1-x0)*t)*dpi, (y0+(y1-y0)*t)*dpi
        draw.rectangle([x, y, x+max(1, dpi*.009)-1, y+max(1, dpi*.009)-1], grey)


def _layout(style, rng):
    "The cells of a form, (left, top, right, bottom) in inches, row by row."
    w = rng.uniform(.24, .38) if style!='table' else rng.uniform(.3, .5)
    h, top, n = w*rng.uniform(1, 1.4), rng.uniform(2, 3.5), int(rng.integers(5, 11))
    gap = w*rng.uniform(.15, .6) if style=='single boxes' else 0
    n = min(n, int(4.6/(w+gap)))
    rows = int(rng.integers(3, 8)) if style=='table' else int(rng.integers(1, 3))
    apart = h if style=='table' else h*rng.uniform(1.8, 2.4)
    left = rng.uniform(.6, WIDE-.6-n*(w+gap))
    return [(left+c*(w+gap), top+r*apart, left+c*(w+gap)+w, top+r*apart+h) for r in range(rows) for c in range(n)]


def _draw(style, rng, dpi, digits, rows):
    "A flat page, its cells in pixels, the digits in them, and their rows, which are some of the held-out digits'."
    page = Image.new('L', (round(WIDE*dpi), round(HIGH*dpi)), 255)
    draw, cells = ImageDraw.Draw(page), _layout(style, rng)
    edges = np.array(cells)
    dotted = style=='pale or dotted walls' and rng.random()<.5
    grey = int(rng.uniform(165, 215)) if style=='pale or dotted walls' and not dotted else int(rng.uniform(0, 90))
    thick = max(1, round(dpi*rng.uniform(.006, .016)))
    top, bottom = edges[:, 1].min(), edges[:, 3].max()
    if style=='frame on squared paper':
        pale = int(rng.uniform(190, 225))
        for v in np.arange(.1, HIGH, .197):
            draw.line([0, v*dpi, page.width, v*dpi], pale)
            draw.line([v*dpi, 0, v*dpi, page.height], pale)
    else:
        _words(draw, rng, dpi, .5, top-.3)
        _words(draw, rng, dpi, bottom+.25, HIGH-.5)
    for left, up, right, down in dict.fromkeys(cells):
        for ends in (((left, up), (right, up)), ((left, down), (right, down)), ((left, up), (left, down)), ((right, up), (right, down))):
            _wall(draw, ends, dpi, grey, dotted, thick)
    ink, truth, drawn = np.array(page, float), [], []
    for cell in cells:
        row = int(rows[rng.integers(len(rows))])
        drawn.append(row)
        truth.append(-1 if rng.random()<.08 else int(digits.y_test[row]))
        if truth[-1]>=0: _write(ink, digits.x_test[row], cell, rng, dpi)
    return ink, edges*dpi, truth, drawn


FIRST = 7000 # the first form that is measured: nobody looked at it
TUNED = 100  # how many forms were used while the reader was made


def _flat(number, digits, rows):
    "A form before it is scanned: its random numbers, style, is it a photo?, dots per inch, page, cells, digits, their rows."
    rng, style = np.random.default_rng(number), STYLES[number%len(STYLES)]
    photo = number//len(STYLES)%4==3
    dpi = 250 if photo else int(rng.choice([150, 200, 300]))
    return rng, style, photo, dpi, *_draw(style, rng, dpi, digits, rows)


def unused_rows(digits):
    "The rows of the held-out digits that no form held while the reader was made."
    every = np.arange(len(digits.y_test))
    return np.setdiff1d(every, np.concatenate([_flat(number, digits, every)[-1] for number in range(TUNED)]))


def draw_form(number, digits, rows=None):
    "The form of a number, with some rows of the held-out digits, or all; its style goes round."
    rng, style, photo, dpi, page, edges, truth, _ = _flat(number, digits, np.arange(len(digits.y_test)) if rows is None else rows)
    h, w = page.shape
    turn = np.radians(rng.uniform(-15, 15))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], float)
    target = (corners-corners.mean(0))@spin.T
    if photo: target += rng.uniform(-.04, .04, (4, 2))*h
    border = .06*h if photo else 0
    target += border-target.min(0)
    size = tuple(int(v) for v in np.ceil(target.max(0)+border))
    by = find_projection(target, corners)
    flat = Image.fromarray(np.rint(page).astype(np.uint8))
    moved = flat.transform(size, Image.Transform.PERSPECTIVE, by.ravel()[:8], Image.Resampling.BICUBIC, fillcolor=255)
    if photo: # a dark table around the paper
        paper = Image.new('L', flat.size, 255).transform(size, Image.Transform.PERSPECTIVE, by.ravel()[:8])
        moved = Image.composite(moved, Image.new('L', size, int(rng.uniform(30, 80))), paper)
    picture = np.asarray(moved.filter(ImageFilter.GaussianBlur(rng.uniform(0, .004)*dpi)), float)*rng.uniform(.65, 1)
    if photo: picture *= np.linspace(1, rng.uniform(.6, 1), size[0])
    picture = Image.fromarray(np.clip(picture+rng.normal(0, rng.uniform(0, 9), picture.shape), 0, 255).astype(np.uint8))
    if photo or rng.random()<.5:
        file = io.BytesIO()
        picture.save(file, 'JPEG', quality=int(rng.integers(40, 95)))
        picture = Image.open(file).convert('L')
    points = project((edges[:, :2]+edges[:, 2:])/2, np.linalg.inv(by))
    return Form(picture, style, photo, points, float((edges[:, 2:]-edges[:, :2]).min()), truth)


def compare(form, page):
    "What was found of a form, and what was right."
    pieces = [(r.piece, r.digit) for r in page.readings]+[(p, -1) for p in page.others] if page and page.kind!='free digits' else []
    middles = np.array([[(p.box[0]+p.box[2])/2, (p.box[1]+p.box[3])/2] for p, _ in pieces]).reshape(-1, 2)
    found = right = digits = sure = wrong = blank = blanks = 0
    for point, truth in zip(form.points, form.digits):
        near = np.flatnonzero(np.abs(middles-point).max(1, initial=0)<.3*form.side)
        found += len(near)>0
        answers = [pieces[i][1] for i in near if pieces[i][1]>=0]
        if truth<0:
            blanks += len(near)>0
            blank += len(near)>0 and not answers
        elif len(near):
            digits += 1
            right += answers==[truth]
            one = [r for r in page.readings if any(r.piece is pieces[i][0] for i in near)]
            sure += bool(one) and not any(r.doubt for r in one)
            wrong += bool(one) and answers!=[truth] and not any(r.doubt for r in one)
    return {'cells': len(form.digits), 'found': found, 'extra': len({p.box for p, _ in pieces})-found, 'digits': digits, 'right': right,
            'sure': sure, 'sure_wrong': wrong, 'blanks': blanks, 'blank': blank}


def totals(rows):
    "Sums and Wilson intervals."
    total = {key: sum(row[key] for row in rows) for key in rows[0] if key not in ('number', 'style', 'photo', 'kind', 'cpu_seconds')}
    def share(of, n): return {'share': of/max(n, 1), 'interval': list(Score(n, n-of).interval()) if n else None}
    return {'forms': len(rows), **total, 'cells_found': share(total['found'], total['cells']),
            'digits_right': share(total['right'], total['digits']), 'cpu_seconds': sum(row['cpu_seconds'] for row in rows)/len(rows)}


RAPIDOCR = """
import glob, sys, logging
from rapidocr import RapidOCR
logging.disable(logging.CRITICAL)
engine = RapidOCR()
for path in sorted(glob.glob(sys.argv[1]+'/*.png')):
    found = engine(path)
    some = sorted(zip(found.boxes, found.txts), key=lambda one: one[0][:, 0].mean()) if found.txts else []
    print('answer', ''.join(text for _, text in some))
"""


def nearest(text, ids):
    "The id of a list that differs least from a text; '' where two are as near (Levenshtein 1966)."
    def distance(a, b):
        row = list(range(len(b)+1))
        for i, x in enumerate(a, 1):
            before, row[0] = row[0], i
            for j, y in enumerate(b, 1): before, row[j] = row[j], min(row[j]+1, row[j-1]+1, before+(x!=y))
        return row[-1]
    ordered = sorted((distance(text, one), one) for one in ids)
    return '' if ordered[0][0]==ordered[1][0] else ordered[0][1]


def count_ids(texts, ids, known):
    "How many ids are exactly right, as they are and as the nearest of a list."
    return {'n': len(ids), 'right': sum(text==one for text, one in zip(texts, ids)),
            'right_with_list': sum(nearest(text, known)==one for text, one in zip(texts, ids))}


def read_sheets(folder, python, model):
    "The ids of real sheets: this reader, and RapidOCR in an environment of its own, which gets the boxes cut out."
    def column(name): return [line.split(',')[-1] for line in (folder/name).read_text(encoding='utf-8').split()[1:]]
    ids, known, file, texts = column('sheets.csv'), column('class-list.csv'), folder/'sheets.pdf', []
    with TemporaryDirectory() as crops:
        for n, (_, load) in enumerate(open_pages(file, page_names(file))):
            picture = load()
            page = read_picture(picture, model, load_rejector())
            texts.append(''.join(str(r.digit) for r in page.readings))
            boxes = np.array([r.piece.box for r in page.readings])
            picture.crop((*(boxes[:, :2].min(0)-20).tolist(), *(boxes[:, 2:].max(0)+20).tolist())).save(f'{crops}/{n:03}.png')
        told = subprocess.run([python, '-c', RAPIDOCR, crops], capture_output=True, text=True, check=True).stdout
    rival = [re.sub('[^0-9]', '', line[7:].replace('O', '0')) for line in told.splitlines() if line.startswith('answer ')]
    return {'this reader': count_ids(texts, ids, known), 'RapidOCR': count_ids(rival, ids, known)}


def main(
    small: Annotated[bool, typer.Option('--small', help='Ten forms, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file; its forms are not read again.')]=None,
    forms: Annotated[int, typer.Option(help='How many forms.')]=1000,
    sheets: Annotated[Path, typer.Option(help='Folder of real sheets: sheets.pdf, sheets.csv, class-list.csv.')]=None,
    rapidocr: Annotated[str, typer.Option(help='With --sheets: the Python of an environment with rapidocr.')]=None,
    first: Annotated[int, typer.Option(help='Number of the first form.')]=FIRST,
):
    out = result_file('forms', out, small)
    result, model, digits = begun(out, 'forms', small), small_model(pretrained_run()), load_digits()
    rows, rejector = unused_rows(digits), load_rejector()
    read = {row['number'] for row in result['results']}
    for number in sorted(set(range(first, first+(10 if small else forms)))-read):
        form, page = draw_form(number, digits, rows), None
        began = time.process_time()
        try: page = read_picture(form.picture, model, rejector)
        except ValueError: pass
        cpu = time.process_time()-began
        result['results'].append({'number': number, 'style': form.style, 'photo': form.photo, 'kind': page.kind if page else 'refused',
                                  'cpu_seconds': round(cpu, 3), **compare(form, page)})
        if number%10==9: write_result(out, result)
    rows = result['results']
    result['total'] = totals(rows)
    result['styles'] = {style: totals([row for row in rows if row['style']==style]) for style in STYLES}
    result['photos'] = totals([row for row in rows if row['photo']] or rows)
    if sheets and rapidocr: result['sheets'] = read_sheets(sheets, rapidocr, model)
    write_result(out, result)
    for name, row in {'all': result['total'], **result['styles'], 'photos': result['photos']}.items():
        print(f"{name:24} cells found {row['found']}/{row['cells']} {row['cells_found']['share']:.2%}, extra {row['extra']}, "
              f"digits {row['right']}/{row['digits']} {row['digits_right']['share']:.2%}, {row['cpu_seconds']:.2f} CPU-s")


if __name__=='__main__': command(main)
