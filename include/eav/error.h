// The one type of exception that the library throws.
#pragma once
#include <stdexcept>
#include <string>

namespace [[gnu::visibility("default")]] eav {

// What went wrong, in one line for the user: what was expected, what was found, what would work. Options stand in it by
// their names in `backticks`, such as `vae_tiling`: the command line writes --vae-tiling in their place.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  // One that is about an option, by its name such as "vae_tiling".
  Error(std::string option, const std::string& what) : std::runtime_error(what), option_(std::move(option)) {}

  // The option that it is about; empty where it is about none.
  const std::string& option() const { return option_; }

 private:
  std::string option_;
};

// There was less memory than the work took.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// The work was stopped on request (Progress::cancelled); nothing was left half-written.
class Cancelled : public Error {
 public:
  Cancelled() : Error("stopped") {}
};

}  // namespace eav
