// Repairing texts as the Python package ftfy does it.
#pragma once
#include <string>

namespace eav::text {

// ftfy.fix_text(fix_encoding=False): character references ("&eacute;") unescaped, ligatures, widths, quotes and line
// ends made plain, control characters taken out, letters and marks composed. Its repair of text that was decoded with a
// wrong encoding ("Ã©") is left out.
std::string fix_text(const std::string& text);

}  // namespace eav::text
