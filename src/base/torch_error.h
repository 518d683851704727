// What PyTorch says of a failure.
#pragma once
#include <c10/util/Exception.h>

#include <string>

namespace eav {

// Without the lines behind the first, which tell programmers where.
inline std::string first_line(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

}  // namespace eav
