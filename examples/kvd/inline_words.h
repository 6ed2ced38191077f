// Inline commands: words between spaces, some of them in quotes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvd {

// Appends the words of `line` to `text`, one behind the other, and their sizes to `sizes`.
//
// As Redis's sdssplitargs: "..." knows \n \r \t \b \a \xHH and \ before any other character, '...'
// knows \' only, and a closing quote must be followed by a space; a NUL ends the line. (Redis
// itself finds no end of a line with a NUL, and waits.) False: the quotes do not match.
[[nodiscard]] bool SplitWords(std::string_view line, std::string* text, std::vector<size_t>* sizes);

}  // namespace kvd
