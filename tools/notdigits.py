"""Images for the rejector: letters, symbols and digits of fonts, and drawings that are not one digit, fitted as MNIST's are.

Those of fonts that are kept for tests go into nbs/results/rejector/fonts.npz:

    python tools/notdigits.py /usr/share/fonts FILE.npz
"""
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom

from digit_recognizer.core.files import InputError
from digit_recognizer.images.normalise import fit_ink

FONTS = {  # part -> style -> folders or files below the folder of fonts: Debian's fonts-NAME or what PACKAGES says, and npm's @fontsource
    "training": {
        "handwriting": ["bwht", "comic-neue", "kaushanscript", "lobster", "lobstertwo", "levien", "leckerli-one", "havana",
                        "aoyagi-kouzan-t", "aoyagi-soseki", "kouzan-mouhitsu", "dustin", "femkeklaver", "isabella",
                        "klaudia-berenika", "komatuna", "seto", "yozvox-yozfont", "yusei-magic", "beteckna", "radisnoir",
                        "aenigma/aescrawl.ttf", "aenigma/handmeds.ttf", "aenigma/madscrwl.ttf", "malayalam/Karumbi-Regular.ttf",
                        "nanum/NanumBrush.ttf", "unfonts-extra/UnPilgia.ttf",
                        *(f"@fontsource/{name}" for name in (
                            "annie-use-your-telescope", "architects-daughter", "bad-script", "caveat", "delicious-handrawn", "gaegu",
                            "gloria-hallelujah", "handlee", "homemade-apple", "indie-flower", "kalam", "mansalva", "marck-script",
                            "neucha", "patrick-hand", "permanent-marker", "reenie-beanie", "rock-salt", "schoolbell", "short-stack",
                            "sue-ellen-francisco", "swanky-and-moo-moo"))],
        "print": ["artemisia", "didot", "ebgaramond", "fonts-johnsmith-induni", "fonts-prociono", "jura",
                  "linux-libertine", "ocr-b", "play", "quattrocento", "sortsmill", "urw-base35", "adf", "andika", "averia-gwf",
                  "crosextra", "dejavu", "essays1743", "firacode", "fonts-century-catalogue", "fonts-oldstandard",
                  "freefont", "hack", "jetbrains-mono", "liberation", "monofur", "noto", "ocr-a", "open-sans", "roboto"]},
    "validation": {
        "handwriting": ["kristi", "kiloji", "tomsontalks", "dancingscript", "aenigma/jmacscrl.ttf", "tlwg/Purisa.ttf",
                        *(f"@fontsource/{name}" for name in (
                            "cedarville-cursive", "covered-by-your-grace", "delius", "gochi-hand", "nanum-pen-script", "shadows-into-light"))],
        "print": ["cantarell", "cabin", "fanwood", "mononoki"]},
    "test": {
        "handwriting": ["breip/Breip.ttf", "sjfonts", "fifthhorseman", "humor-sans", "ecolier-court", "rufscript"],
        "print": ["lato", "vollkorn", "courier-prime", "oxygen", "inconsolata", "gentium-basic", "anonymous-pro"]}}
NOT_HAND = ("Dustismo", "dustismo", "Wargames", "It_wasn", "progenisis", "MarkedFool", "Winks", "flatline", "setofont-ex")
LETTERS = "ACEFGHJKLMNPRTUVWXYacdefhijkmnprtuvwxy"
LOOKALIKES = "OoDQIlSsZzBbgq"  # in some hand the same as 0, 1, 2, 5, 6, 8 or 9
SYMBOLS = "!?&@#%$€£+=*~^<>{}[]:;\"«»§¶©®±÷×√∑∞≠≤≥→←↑↓ÄÖÜäöüßéèêàçñÆæŒœ"
OTHER_LETTERS = "ГДЖИЙКЛМНПРТУФЦШЩЪЫЭЮЯжийклмнптцшщъыэюяΓΔΘΛΞΠΣΦΨΩαβγδεζηκλμνξπρτφχψωあいえおかきけさすせたちなにぬねはひふへほまみむめもやゆよれわを"
DIGITS = "0123456789"
SIDE = 64  # pixels of the canvas on which all is drawn before it is fitted


def font_files(folder, part, style):
    "The font files of a part and style; stops with a clear line where a package is missing."
    for name in FONTS[part][style]:
        pattern = f"{name}/files/*-latin-400-normal.woff" if name[0]=="@" else f"{name}*" if "." in name else f"{name}/**/*"
        found = sorted(f for kind in ("truetype", "opentype", "node_modules") for f in (Path(folder)/kind).glob(pattern)
                       if f.suffix.lower() in (".ttf", ".otf", ".woff"))
        if not found: raise InputError(f"{folder}: no fonts in {name}; install the packages that tools/rejector.py names")
        yield from (f for f in found if not any(f.name.startswith(n) for n in NOT_HAND) or style=="print")


def glyph(font, char):
    "A character as ink, float (h, w) in 0 to 1."
    mask = font.getmask(char, mode="L")
    return np.array(mask, np.float32).reshape(mask.size[::-1])/255


def glyphs(file, chars):
    "The characters of a font file with their ink; of a font whose small letters are capitals, the capitals."
    try: font = ImageFont.truetype(str(file), 48)
    except OSError: return
    missing = glyph(font, "\uffff")
    capitals = np.array_equal(glyph(font, "a"), glyph(font, "A"))
    for char in chars:
        if capitals and char.isascii() and char.islower(): continue
        ink = glyph(font, char)
        if ink.max(initial=0)>.5 and not np.array_equal(ink, missing): yield char, ink


def on_canvas(ink, side=SIDE, room=10):
    "Ink in the middle of a square canvas, its longer side as large as fits."
    h, w = ink.shape
    by = (side-2*room)/max(h, w)
    ink = np.clip(zoom(ink, (max(by, 1.01/h), max(by, 1.01/w)), order=1), 0, 1)
    h, w = ink.shape
    out = np.zeros((side, side), np.float32)
    top, left = (side-h)//2, (side-w)//2
    out[top:top+h, left:left+w] = ink
    return out


@lru_cache
def smoother(n, knots=5):
    "The matrix (n, knots) that draws a smooth line through numbers at knots."
    return zoom(np.eye(knots), (n/knots, 1), order=3)


def warp(ink, rng, strength=1.):
    "A canvas turned, sheared, stretched and bent a little."
    a, shear = rng.normal(0, .09*strength), rng.normal(0, .14*strength)
    sx, sy = np.exp(rng.normal(0, .1*strength, 2))
    matrix = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])@np.array([[sy, 0], [shear, sx]])
    n = len(ink)
    bend = smoother(n)@rng.normal(0, 1.3*strength, (2, 5, 5))@smoother(n).T
    at = np.indices((n, n))-(n-1)/2
    at = np.einsum("ij,jyx->iyx", matrix, at)+(n-1)/2+bend
    return np.clip(map_coordinates(ink, at, order=1), 0, 1)


def change_pen(ink, rng, most=2.6):
    "A canvas whose strokes are thinner or thicker by some pixels, never gone."
    by = rng.uniform(-most, most)
    on = ink>.5
    inside, outside = distance_transform_edt(on), distance_transform_edt(~on)
    signed = np.where(on, inside-.5, .5-outside)
    by = max(by, 1.-signed.max())  # of the thickest stroke, something stays
    return np.clip(signed+by+.5, 0, 1).astype(np.float32)


def thin(images):
    "The skeletons of binary images, bool (n, h, w), by Zhang and Suen (1984)."
    x = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    def ring():
        return [np.roll(x, shift, (1, 2)) for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))]
    while True:
        before = x.sum()
        for half in (0, 1):
            p = ring()
            count = sum(q.astype(np.int8) for q in p)
            turns = sum((~a & b).astype(np.int8) for a, b in zip(p, p[1:]+p[:1]))
            n, e, s, w = p[0], p[2], p[4], p[6]
            sides = ~(n & e & s) & ~(e & s & w) if half==0 else ~(n & e & w) & ~(n & s & w)
            x = x & ~((count>=2) & (count<=6) & (turns==1) & sides)
        if x.sum()==before: return x[:, 1:-1, 1:-1]


def enlarge(images, factor=2):
    "Images, uint8 (n, 28, 28), as ink on larger canvases, float (n, 28·factor, 28·factor)."
    return np.clip(np.stack([zoom(img.astype(np.float32)/255, factor, order=3) for img in images]), 0, 1)


def redraw(images, rng, widths=(.5, 4.5)):
    "Digits drawn anew along their skeletons with a pen of another width, fitted."
    rows = []
    for line in thin(enlarge(images)>.45):
        width = rng.uniform(*widths)
        ink = np.clip(width+.5-distance_transform_edt(~line), 0, 1)
        rows.append(fit(warp(ink, rng, rng.uniform(.2, 1.))))
    return np.stack(rows)


def fit(ink):
    "A canvas of ink in 0 to 1 as a model sees it, uint8 (28, 28)."
    ink = np.rint(255*ink).astype(np.uint8)
    return fit_ink(ink) if ink.max()>0 else np.zeros((28, 28), np.uint8)


def draw_lines(lines, width, side=SIDE):
    "Polylines (points in 0 to 1) with a round pen, as ink."
    big = Image.new("L", (2*side, 2*side))
    pen = ImageDraw.Draw(big)
    for points in lines:
        xy = [(2*side*x, 2*side*y) for x, y in points]
        pen.line(xy, 255, max(1, round(2*width)), joint="curve")
        r = width
        for x, y in (xy[0], xy[-1]): pen.ellipse([x-r, y-r, x+r, y+r], 255)
    return np.asarray(big.reduce(2), np.float32)/255


def curve(points, n=40):
    "A smooth line through points (m, 2), by Catmull and Rom (1974)."
    p = np.vstack([2*points[:1]-points[1:2], points, 2*points[-1:]-points[-2:-1]])
    t = np.linspace(0, len(points)-1.001, n)
    i, f = t.astype(int), (t%1)[:, None]
    a, b, c, d = p[i], p[i+1], p[i+2], p[i+3]
    return .5*(2*b+(c-a)*f+(2*a-5*b+4*c-d)*f**2+(3*b-a-3*c+d)*f**3)


def letters(folder, part, style, chars, rng, times=1, step=1, strength=1.):
    "Characters of every `step`-th font of a part and style, each several times warped and in other pens; as they are where times is 0."
    rows, names = [], []
    for file in list(font_files(folder, part, style))[::step]:
        for char, ink in glyphs(file, chars):
            canvas = on_canvas(ink)
            names += [char]*max(times, 1)
            rows += [fit(canvas)] if not times else [
                fit(warp(change_pen(canvas, rng) if rng.random()<.6 else canvas, rng, strength)) for _ in range(times)]
    return np.stack(rows), np.array(names)


def written(folder, style, chars, rng, times, step=1, strength=1.6):
    "Characters of fonts for training as if written by hand: their skeletons, bent, with a pen of any width."
    drawn = [(char, on_canvas(ink)) for file in list(font_files(folder, "training", style))[::step]
             for char, ink in glyphs(file, chars)]
    names, canvases = zip(*drawn)
    rows = []
    for start in range(0, len(canvases), 200):
        for line in thin(np.stack(canvases[start:start+200])>.5):
            away = distance_transform_edt(~line)
            rows += [fit(warp(np.clip(rng.uniform(.8, 4)+.5-away, 0, 1), rng, strength)) for _ in range(times)]
    return np.stack(rows), np.repeat(names, times)


def scribble(rng):
    "A wild curve, of many turns."
    points = np.clip(.5+np.cumsum(rng.normal(0, .3, (rng.integers(6, 16), 2)), 0)*rng.uniform(.3, 1), .08, .92)
    if rng.random()<.5: points = rng.uniform(.1, .9, (rng.integers(7, 16), 2))
    return draw_lines([curve(points, 120)], rng.uniform(.7, 4))


def hatching(rng):
    "A pen moved to and fro, as to cross something out."
    n = rng.integers(5, 16)
    along, across = np.linspace(.1, .9, n)+rng.normal(0, .03, n), np.where(np.arange(n)%2, .2, .8)+rng.normal(0, .08, n)
    points = np.stack([along, across], 1)
    line = curve(points, 150) if rng.random()<.5 else points
    return warp(turned(draw_lines([np.clip(line, .02, .98)], rng.uniform(.7, 3.5)), rng), rng)


def turned(ink, rng):
    "A canvas turned by any number of quarters, perhaps mirrored."
    ink = np.rot90(ink, rng.integers(4))
    return np.ascontiguousarray(ink.T if rng.random()<.5 else ink)


def strokes(rng):
    "Some straight or bent strokes: a dash, a cross, an arrow, two bars, a star; never one upright stroke alone."
    n, lines = rng.integers(1, 6), []
    for _ in range(n):
        a, b = rng.uniform(.1, .9, (2, 2))
        lines.append(curve(np.stack([a, (a+b)/2+rng.normal(0, .06, 2), b])))
    if n==1:
        y, slope = rng.uniform(.3, .7), rng.uniform(-.45, .45)
        lines = [curve(np.array([[.1, y-.35*slope], [.5, y+rng.normal(0, .03)], [.9, y+.35*slope]]))]
    return draw_lines(lines, rng.uniform(.7, 5))


def box_edge(rng):
    "What stays of boxes and tables: corners, crossings, three sides, parallel lines, a line with a stump, a whole box."
    x, y = rng.uniform(.12, .45), rng.uniform(.12, .45)
    right, low = rng.uniform(.55, .88), rng.uniform(.55, .88)
    sides = [[(x, y), (right, y)], [(right, y), (right, low)], [(right, low), (x, low)], [(x, low), (x, y)]]
    kind = rng.integers(6)
    if kind==0: keep = sides[:2]
    elif kind==1: keep = sides[:3]
    elif kind==2: keep = sides
    elif kind==3: keep = [sides[rng.integers(2)], sides[2+rng.integers(2)]]
    elif kind==4: keep = [[(.1, y), (.9, y)], [(x, .1 if rng.random()<.5 else y), (x, .9)]]
    else: keep = [[(.1, y), (.9, y)]] + [[(k, y), (k, low)] for k in rng.uniform(.1, .9, rng.integers(1, 4))]
    ends = [[tuple(p+rng.normal(0, .04, 2)) if rng.random()<.3 else p for p in line] for line in keep]
    ink = turned(draw_lines(ends, rng.uniform(.5, 4)), rng)
    return warp(ink, rng, .5) if rng.random()<.7 else ink


def shadow(rng):
    "The edge of a shadow, a finger or the paper: a filled side, corner or wedge, with a soft or rough border."
    at = np.indices((SIDE, SIDE))/SIDE-.5
    a, off = rng.uniform(0, 2*np.pi), rng.uniform(-.3, .3)
    field = at[0]*np.cos(a)+at[1]*np.sin(a)-off
    if rng.random()<.5:
        b = a+rng.uniform(.6, 2.6)
        field = np.maximum(field, at[0]*np.cos(b)+at[1]*np.sin(b)-rng.uniform(-.2, .2))
    elif rng.random()<.6: field = abs(field)-rng.uniform(.03, .15)
    field = field+gaussian_filter(rng.normal(0, 1, field.shape), rng.uniform(1, 6))*rng.uniform(0, .3)
    return np.clip(.5-field*rng.uniform(4, 60), 0, 1).astype(np.float32)


def texture(rng):
    "Noise, blots, grain, specks, fine stripes and blank images."
    kind, n = rng.integers(7), SIDE
    field = rng.normal(0, 1, (n, n))
    if kind==0: return np.clip(.5+.5*field, 0, 1)
    if kind==1: return (gaussian_filter(field, s := rng.uniform(1.5, 9))*s>rng.uniform(0, .4)).astype(np.float32)
    if kind==2: return (gaussian_filter(field, .8)>rng.uniform(.3, 1)).astype(np.float32)
    if kind==3:
        out = np.zeros((n, n))
        for y, x in rng.integers(6, n-6, (rng.integers(1, 14), 2)): out[y, x] = 1
        return np.clip(gaussian_filter(out, s := rng.uniform(.5, 3))*s*s*12, 0, 1)
    if kind==4: return np.clip(.5+np.sin(np.indices((n, n))[rng.integers(2)]*rng.uniform(.3, 2)+rng.uniform(0, 6)), 0, 1)
    if kind==5: return np.full((n, n), rng.choice([0., 1.]))
    at = np.indices((n, n))-n/2
    return (np.hypot(at[0]*rng.uniform(.5, 1), at[1]*rng.uniform(.5, 1))<rng.uniform(4, 26)).astype(np.float32)  # a blob


def joined(images, rng, least=2, most=3):
    "Two or three digits side by side that touch or nearly touch, of images uint8 (n, 28, 28)."
    parts = []
    for img in images[rng.integers(len(images), size=rng.integers(least, most+1))]:
        rows, cols = np.flatnonzero(img.any(1)), np.flatnonzero(img.any(0))
        ink = img[rows[0]:rows[-1]+1, cols[0]:cols[-1]+1]/255.
        parts.append(zoom(ink, rng.uniform(.85, 1.15), order=1))
    high = max(p.shape[0] for p in parts)
    out = np.zeros((high+6, sum(p.shape[1] for p in parts)+8*len(parts)), np.float32)
    x = 2
    for p in parts:
        y = int(rng.integers(0, high+5-p.shape[0]))
        view = out[y:y+p.shape[0], x:x+p.shape[1]]
        np.maximum(view, p[:view.shape[0], :view.shape[1]], out=view)
        x += max(2, p.shape[1]-int(rng.integers(-1, 5)))
    return np.clip(out, 0, 1)


def half(img, rng):
    "One side of a digit, cut off by a straight line, 35 to 60 % of its length."
    rows, cols = np.flatnonzero(img.any(1)), np.flatnonzero(img.any(0))
    ink = img[rows[0]:rows[-1]+1, cols[0]:cols[-1]+1]/255.
    side, share = rng.integers(4), rng.uniform(.35, .6)
    h, w = (max(3, round(share*n)) for n in ink.shape)
    return (ink[:h], ink[-h:], ink[:, :w], ink[:, -w:])[side]


def crossed_out(img, rng):
    "A digit under an X, several bars or a scribble."
    ink, kind = on_canvas(img[4:24, 4:24]/255.), rng.integers(3)
    def point(lo, hi): return rng.uniform(lo, hi)
    if kind==0: lines = [[(point(.05, .2), point(.1, .3)), (point(.8, .95), point(.7, .9))],
                         [(point(.8, .95), point(.1, .3)), (point(.05, .2), point(.7, .9))]]
    elif kind==1: lines = [[(point(.02, .15), y+rng.normal(0, .05)), (point(.85, .98), y+rng.normal(0, .08))]
                           for y in rng.uniform(.25, .75, rng.integers(2, 5))]
    else: lines = [curve(np.stack([np.linspace(.05, .95, 9), np.where(np.arange(9)%2, .3, .7)+rng.normal(0, .08, 9)], 1), 120)]
    return np.maximum(ink, draw_lines(lines, rng.uniform(1.5, 4)))


def is_stroke(img):
    "Is an image, uint8 (28, 28), one upright or slanted straight stroke, as a 1 is?"
    y, x = np.indices(img.shape).reshape(2, -1)[:, img.ravel()>=64]
    if len(x)<4: return False
    spread, axes = np.linalg.eigh(np.cov(x, y))
    return bool(spread[0]<.06*spread[1] and abs(axes[1, 1])>.6)


def draw_many(draw, n):
    "n drawings of a function without arguments, fitted; none is one straight stroke."
    rows = []
    while len(rows)<n:
        img = fit(np.asarray(draw(), np.float32))
        if not is_stroke(img): rows.append(img)
    return np.stack(rows)


def write_tests(fonts, path):
    "Write the letters, symbols, look-alikes and digits of the fonts that are kept for tests, as they are and in other pens."
    sets = {"letters": LETTERS, "symbols": SYMBOLS[:16], "look-alikes": LOOKALIKES, "digits": DIGITS}
    rng, arrays = np.random.default_rng(1), {}
    for style, step in (("handwriting", 1), ("print", 4)):
        for name, chars in sets.items():
            arrays[f"{name}, {style}"], arrays[f"names of {name}, {style}"] = letters(fonts, "test", style, chars, rng, 0, step)
    with open(path, "xb") as out: np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    write_tests(*sys.argv[1:])
