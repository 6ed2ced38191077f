"""A source file as the house rules see it: its lines with comments or strings taken out."""

import re


class Source:
    """One file. `code` has neither comments nor the contents of strings, `literal` keeps the
    strings, `comments` has only the comments; all three line by line as in the file."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.is_cpp = path.endswith((".h", ".cc", ".c"))
        self.is_asm = path.endswith(".S")
        if self.is_cpp or self.is_asm:
            code, literal, comments = _split(text)
        else:
            code, literal, comments = text, text, text
        self.code = code.split("\n")
        self.literal = literal.split("\n")
        self.comments = comments.split("\n")

    def under(self, *folders):
        return self.path.startswith(tuple(f + "/" for f in folders))

    def functions(self):
        """(first line, line count) of each function, lines from 1. By braces, so approximately:
        whatever opens with a parameter list outside of any function."""
        found = []
        scopes = []
        head = ""
        line = 1
        for char in "\n".join(_without_directives(self.code)):
            if char == "\n":
                line += 1
                head += " "
            elif char == "{":
                kind = _kind(head) if all(k == "scope" for k, _ in scopes) else "block"
                scopes.append((kind, line - head.rstrip().count("\n")))
                head = ""
            elif char == "}":
                if scopes:
                    kind, start = scopes.pop()
                    if kind == "function":
                        found.append((start, line - start + 1))
                head = ""
            elif char == ";":
                head = ""
            else:
                head += char
        return found


_SCOPE = re.compile(r"^\s*(template\s*<.*>\s*)?(inline\s+)?"
                    r"(namespace|class|struct|union|enum|extern\s*\"C\")\b")
_TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|R"(?P<tag>\w*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*\""""
                    r"""|'(?:\\.|[^'\\\n])+'""", re.DOTALL)


def _kind(head):
    if _SCOPE.match(head):
        return "scope"
    return "function" if "(" in head else "block"


def _blank(text, keep_ends=0):
    kept = re.sub(r"[^\n]", " ", text)
    if keep_ends:
        kept = text[:keep_ends] + kept[keep_ends:-keep_ends] + text[-keep_ends:]
    return kept


def _split(text):
    code, literal, comments = [], [], []
    at = 0
    for match in _TOKEN.finditer(text):
        between, token = text[at:match.start()], match.group()
        at = match.end()
        for part in (code, literal):
            part.append(between)
        comments.append(_blank(between))
        # 1'000'000: the quote of a number is no character.
        if token.startswith("'") and between[-1:].isalnum():
            code.append(token)
            literal.append(token)
            comments.append(_blank(token))
        elif token.startswith("/"):
            code.append(_blank(token))
            literal.append(_blank(token))
            comments.append(token)
        else:
            code.append(_blank(token, 1))
            literal.append(token)
            comments.append(_blank(token))
    rest = text[at:]
    return "".join(code) + rest, "".join(literal) + rest, "".join(comments) + _blank(rest)


def _without_directives(lines):
    continued = False
    for line in lines:
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        yield "" if directive else line
