// Keys of text encoders as other programs spell them, in this project's names, which are transformers'.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "weights/original_names.h"

namespace eav {

// T5 and UMT5 as Wan's own file has it, and as llama.cpp writes them. Keys that are this project's stay as they are.
const KeyTable& wan_t5_table();
const KeyTable& llama_cpp_t5_table();
// A LLaMA as llama.cpp writes it; "output." and "rope_freqs." are left out, as are this project's keys.
const KeyTable& llama_cpp_llama_table();

constexpr int64_t kLlamaHeadDim = 128;  // of LLaMA 3
// Whether llama.cpp has the two halves of each head of a LLaMA's tensor in pairs: of `key`, this project's.
bool llama_cpp_pairs(const std::string& key);

std::vector<NamedRows> wan_t5_names(const std::string& key);
std::vector<NamedRows> llama_cpp_t5_names(const std::string& key);
// Of one with so many heads of queries and of keys.
std::vector<NamedRows> llama_cpp_llama_names(const std::string& key, int64_t heads, int64_t kv_heads);

}  // namespace eav
