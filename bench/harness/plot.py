"""The plot: weft and its peers, each as a multiple of the row's limit, on a logarithmic axis."""
import math
from xml.sax.saxutils import escape

ROW_HEIGHT = 22
LEFT, WIDTH, TOP, BOTTOM = 330, 620, 56, 40
LOW, HIGH = 0.25, 8.0  # the axis; what lies outside is drawn at its end

WEFT_WITHIN, WEFT_OVER = "#2a7d4f", "#c0392b"
PEERS = {"go": "#00a3c4", "boost.fiber": "#8e5bb5", "tokio": "#d98200", "model": "dimgray",
         "uring C": "black", "epoll C": "gray", "epoll C, busy": "silver",
         "nginx": "#2f5fa8", "redis": "#a83250"}


def _x(ratio):
    clipped = min(max(ratio, LOW), HIGH)
    return LEFT + WIDTH * math.log(clipped / LOW) / math.log(HIGH / LOW)


def _text(x, y, text, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _dot(x, y, color, title):
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{color}">'
            f"<title>{escape(title)}</title></circle>")


def _axis(height):
    parts = []
    for tick in (0.25, 0.5, 1, 2, 4, 8):
        x = _x(tick)
        style = 'stroke="black" stroke-width="1.5"' if tick == 1 else 'stroke="gainsboro"'
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - BOTTOM}" '
                     f'{style}/>')
        parts.append(_text(x, height - BOTTOM + 16, f"{tick:g}x", "middle"))
    return parts


def _legend(names):
    x, parts = 20, []
    for name, color in [("weft", WEFT_WITHIN), ("weft over its limit", WEFT_OVER),
                        *[(n, PEERS[n]) for n in PEERS if n in names]]:
        parts.append(_dot(x, 36, color, name))
        parts.append(_text(x + 9, 40, name))
        x += 22 + 6.6 * len(name)
    return parts


def _row(row, y):
    parts = [_text(LEFT - 12, y + 4, row["title"], "end")]
    limit = row["limit"]
    if not limit:  # at most 0: nothing to divide by
        shown = "none" if row["weft"] is None else f"{row['weft']:g}"
        return parts + [_text(LEFT + 8, y + 4, f"weft {shown}, limit 0: {row['verdict']}")]
    peers = [_dot(_x(value / limit), y, PEERS[name], f"{name} {value:g} {row['unit']}")
             for name, value in row["others"].items()]
    if row["weft"] is None:
        return parts + peers
    ratio = row["weft"] / limit
    color = WEFT_WITHIN if ratio <= 1 else WEFT_OVER
    start, end = sorted((_x(1), _x(ratio)))
    return parts + [
        f'<rect x="{start:.1f}" y="{y - 4}" width="{end - start:.1f}" height="8" '
        f'fill="{color}" fill-opacity="0.45"/>',
        *peers, _dot(_x(ratio), y, color, f"weft {row['weft']:g} {row['unit']}")]


def draw(rows):
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    names = {name for row in rows for name in row["others"]}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="black">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(20, 18, "Cost as a multiple of what the row allows; left of 1x is within it",
              extra=' font-weight="bold"'),
        *_legend(names), *_axis(height),
    ]
    for i, row in enumerate(rows):
        parts += _row(row, TOP + ROW_HEIGHT * i + ROW_HEIGHT // 2)
    return "\n".join([*parts, "</svg>"]) + "\n"
