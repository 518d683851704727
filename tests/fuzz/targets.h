// The readers of files from anywhere, each as a function of a file's bytes: run by the fuzzer, and on the corpora by a
// test.
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace eav::fuzz {

// Reads `bytes`. Returns when they were read or refused by an eav::Error; everything else is a fault.
using Target = void (*)(std::string_view bytes);

// By name, which is also the name of the folder of the target's corpus.
const std::map<std::string, Target>& targets();

}  // namespace eav::fuzz
