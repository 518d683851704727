// Runs parts of the library by themselves, so that tests in Python can compare them with their counterparts there:
// eav_probe COMMAND ARGUMENTS… reads standard input and writes standard output or a file.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eav/error.h"
#include "text/prompt.h"
#include "text/t5.h"
#include "text/t5_tokenizer.h"
#include "text/tokenizer/json.h"
#include "weights/safetensors.h"

void vae(const std::vector<std::string>& arguments);  // probe_vae.cpp

namespace {

using Arguments = std::vector<std::string>;

// The value behind "--name", or `fallback`.
std::string option(const Arguments& arguments, const std::string& name, const std::string& fallback = "") {
  for (size_t i = 0; i + 1 < arguments.size(); ++i)
    if (arguments[i] == "--" + name) return arguments[i + 1];
  return fallback;
}

at::ScalarType type(const std::string& name) {
  const std::map<std::string, at::ScalarType> types{
      {"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
  return types.at(name);
}

std::string standard_input() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

// tokens DIR [--kind t5|json] < texts.json > ids.json
void tokens(const Arguments& arguments) {
  const std::filesystem::path dir = arguments.at(0);
  const auto kind = option(arguments, "kind", "t5");
  const auto tokenizer =
      kind == "t5" ? eav::open_t5_tokenizer(dir) : eav::text::read_tokenizer_json(dir / "tokenizer.json");
  auto ids = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(standard_input()))
    ids.push_back(tokenizer.encode(text.get<std::string>()));
  std::cout << ids << '\n';
}

// t5 DIR --length N --out FILE [--dtype TYPE] [--storage TYPE] [--mask] < prompt: DIR holds tokenizer/ and
// text_encoder/
void t5(const Arguments& arguments) {
  const std::filesystem::path dir = arguments.at(0);
  const auto compute = type(option(arguments, "dtype", "float32"));
  const auto storage = type(option(arguments, "storage", option(arguments, "dtype", "float32")));
  const auto prompt = eav::tokenize(eav::open_t5_tokenizer(dir / "tokenizer"), standard_input(),
                                    std::stoll(option(arguments, "length", "226")));
  const auto encoder = eav::T5Encoder::open(dir / "text_encoder", {.dtype = storage});
  const auto mask =
      std::ranges::find(arguments, "--mask") == arguments.end() ? std::nullopt : std::optional(prompt.mask);
  const auto embeddings = encoder(prompt.ids, mask, compute, eav::Progress());
  eav::save_safetensors(option(arguments, "out"), {{"ids", prompt.ids}, {"embeddings", embeddings}},
                        {{"cut", prompt.cut}});
}

}  // namespace

int main(int argc, char** argv) try {
  const std::map<std::string, void (*)(const Arguments&)> commands{
      {"t5", t5},
      {"tokens", tokens},
      {"vae", vae},
  };
  const Arguments arguments(argv + 1, argv + argc);
  const c10::InferenceMode inference;
  commands.at(arguments.at(0))({arguments.begin() + 1, arguments.end()});
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
