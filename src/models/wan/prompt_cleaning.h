// Prompts as Wan's pipelines of diffusers clean them.
#pragma once
#include <string>

namespace eav::wan {

// The prompt `utf8` as prompt_clean() leaves it: repaired by ftfy (but for its repair of encodings), character
// references unescaped, and one space for any white space. Throws eav::Error when it is not UTF-8.
std::string clean_prompt(const std::string& utf8);

}  // namespace eav::wan
