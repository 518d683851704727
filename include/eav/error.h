// The one type of exception that the library throws.
#pragma once
#include <stdexcept>
#include <string>

namespace eav {

// What went wrong, in one line for the user: what was expected, what was found, what would work.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The work was stopped on request (Progress::cancelled); nothing was left half-written.
class Cancelled : public Error {
 public:
  Cancelled() : Error("stopped") {}
};

}  // namespace eav
