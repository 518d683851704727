#include "text/tokenizer/normalizer.h"

#include <utility>

namespace eav::text {

Normalizer unchanged() { return std::identity(); }

Normalizer normal_form(NormalForm form) {
  return [form](const std::string& text) { return normalize(text, form); };
}

Normalizer lowercased() {
  return [](const std::string& text) { return lowercase(text); };
}

Normalizer stripped(bool left, bool right) {
  return [left, right](const std::string& text) {
    size_t begin = 0, end = text.size();
    while (left && begin < end && is_whitespace(code_point(text, begin))) begin += code_point_length(text, begin);
    while (right && end > begin && is_whitespace(code_point(text, code_point_start(text, end))))
      end = code_point_start(text, end);
    return text.substr(begin, end - begin);
  };
}

Normalizer replaced(Pattern pattern, std::string replacement) {
  return [pattern = std::move(pattern), replacement = std::move(replacement)](const std::string& text) {
    return replace(text, pattern, replacement);
  };
}

Normalizer prepended(std::string prefix) {
  return [prefix = std::move(prefix)](const std::string& text) { return text.empty() ? text : prefix + text; };
}

Normalizer in_order(std::vector<Normalizer> normalizers) {
  return [normalizers = std::move(normalizers)](std::string text) {
    for (const auto& normalizer : normalizers) text = normalizer(std::move(text));
    return text;
  };
}

}  // namespace eav::text
