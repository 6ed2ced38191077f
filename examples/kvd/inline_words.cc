#include "kvd/inline_words.h"

#include <charconv>

namespace kvd {

namespace {

// Between words, and behind a closing quote.
bool IsSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// In Redis '\v' and '\f' are spaces, but end no word.
bool EndsWord(char c) {
  return IsSpace(c) && c != '\v' && c != '\f';
}

char Unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// The character that an escape at the front of `line` stands for, which it takes away.
char TakeEscape(std::string_view* line) {
  if (line->size() >= 4 && (*line)[1] == 'x') {
    unsigned value = 0;
    const char* const digits = line->data() + 2;
    if (std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      line->remove_prefix(4);
      return static_cast<char>(value);
    }
  }
  const char c = Unescape((*line)[1]);
  line->remove_prefix(2);
  return c;
}

// Takes a quoted part, whose opening quote is gone already, with its closing quote.
bool TakeQuoted(char quote, std::string_view* line, std::string* text) {
  while (!line->empty()) {
    const char c = line->front();
    if (c == quote) {
      line->remove_prefix(1);
      return line->empty() || IsSpace(line->front());
    }
    const bool escaped = c == '\\' && line->size() > 1 && (quote == '"' || (*line)[1] == '\'');
    if (escaped && quote == '"') {
      *text += TakeEscape(line);
      continue;
    }
    *text += escaped ? '\'' : c;
    line->remove_prefix(escaped ? 2 : 1);
  }
  return false;
}

}  // namespace

bool SplitWords(std::string_view line, std::string* text, std::vector<size_t>* sizes) {
  line = line.substr(0, line.find('\0'));
  for (;;) {
    while (!line.empty() && IsSpace(line.front())) line.remove_prefix(1);
    if (line.empty()) return true;
    const size_t begin = text->size();
    while (!line.empty() && !EndsWord(line.front())) {
      const char c = line.front();
      line.remove_prefix(1);
      if (c == '"' || c == '\'') {
        if (!TakeQuoted(c, &line, text)) return false;
        break;  // a closing quote ends the word
      }
      *text += c;
    }
    sizes->push_back(text->size() - begin);
  }
}

}  // namespace kvd
