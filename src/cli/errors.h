// Errors that say what they are about.
#pragma once
#include <string>

#include "eav/error.h"

namespace eav {

// Runs `work`; the messages of its errors begin with `subject`.
template <class Work>
auto naming(const std::string& subject, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(subject + error.what());
  }
}

}  // namespace eav
