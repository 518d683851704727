// The first stage of a tokenizer: how text is made uniform before it is cut.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/pattern.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

using Normalizer = std::function<std::string(std::string text)>;

Normalizer unchanged();
Normalizer normal_form(NormalForm form);
Normalizer lowercased();
Normalizer stripped(bool left, bool right);  // of white space
Normalizer replaced(Pattern pattern, std::string replacement);
Normalizer prepended(std::string prefix);  // to text that is not empty
Normalizer in_order(std::vector<Normalizer> normalizers);

}  // namespace eav::text
