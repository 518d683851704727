#include "models/wan/prompt_cleaning.h"

#include "text/ftfy.h"
#include "text/html.h"
#include "text/rules.h"
#include "text/tokenizer/unicode.h"

namespace eav::wan {

std::string clean_prompt(const std::string& utf8) {
  text::check_utf8(utf8);
  static const text::Rules one_space{{R"(\s+)", " "}};
  const auto unescaped = text::html_unescape(text::html_unescape(text::fix_text(utf8)));
  return text::python_stripped(text::apply(one_space, unescaped));
}

}  // namespace eav::wan
