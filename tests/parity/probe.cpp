// Runs parts of the library by themselves, so that tests in Python can compare them with their counterparts there:
// eav_probe COMMAND ARGUMENTS… reads standard input and writes standard output or a file. Parts of models take
// --device.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eav/error.h"
#include "eav/video.h"
#include "enhance/cfi.h"
#include "models/clip_image.h"
#include "models/hunyuan_video/original_names.h"
#include "models/ltx_video/single_file.h"
#include "models/wan/original_names.h"
#include "models/wan/prompt_cleaning.h"
#include "text/caption_cleaning.h"
#include "text/clip.h"
#include "text/clip_tokenizer.h"
#include "text/clip_vision.h"
#include "text/html.h"
#include "text/llama.h"
#include "text/llama_tokenizer.h"
#include "text/llava.h"
#include "text/prompt.h"
#include "text/t5.h"
#include "text/t5_tokenizer.h"
#include "text/umt5_tokenizer.h"
#include "video/resize.h"
#include "weights/placement.h"
#include "weights/safetensors.h"

void open_sora(const std::vector<std::string>& arguments);         // probe_open_sora.cpp
void latent_upsampler(const std::vector<std::string>& arguments);  // probe_vae.cpp
void latents(std::vector<std::string> arguments);                  // probe_memory.cpp
void phase(const std::vector<std::string>& arguments);             // probe_memory.cpp
void plan(const std::vector<std::string>& arguments);              // probe_memory.cpp
void tensors(const std::vector<std::string>& arguments);           // probe_stored.cpp
void vae(const std::vector<std::string>& arguments);               // probe_vae.cpp

namespace {

using Arguments = std::vector<std::string>;

// The value behind "--name", or `fallback`.
std::string option(const Arguments& arguments, const std::string& name, const std::string& fallback = "") {
  for (size_t i = 0; i + 1 < arguments.size(); ++i)
    if (arguments[i] == "--" + name) return arguments[i + 1];
  return fallback;
}

eav::PartSource in_folder(const std::filesystem::path& dir) {
  return eav::PartSource::of_transformers(dir, dir.filename().string());
}

at::ScalarType type(const std::string& name) {
  const std::map<std::string, at::ScalarType> types{
      {"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
  return types.at(name);
}

std::string standard_input() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

eav::Tokenizer open_tokenizer(const std::string& kind, const std::filesystem::path& dir) {
  const std::map<std::string, eav::Tokenizer (*)(const std::filesystem::path&)> kinds{
      {"clip", eav::open_clip_tokenizer},
      {"llama", eav::open_llama_tokenizer},
      {"t5", eav::open_t5_tokenizer},
      {"umt5", eav::open_umt5_tokenizer}};
  return kinds.at(kind)(dir);
}

// tokens DIR [--kind t5|umt5|clip|llama] < texts.json > ids.json
void tokens(const Arguments& arguments) {
  const auto tokenizer = open_tokenizer(option(arguments, "kind", "t5"), arguments.at(0));
  auto ids = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(standard_input()))
    ids.push_back(tokenizer.encode(text.get<std::string>()));
  std::cout << ids << '\n';
}

// clean-captions < texts.json > cleaned.json: each as [text, whether CJK characters were removed, whether tags were]
void clean_captions(const Arguments&) {
  auto cleaned = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(standard_input())) {
    const auto caption = eav::clean_caption(text.get<std::string>());
    cleaned.push_back({caption.text, caption.removed_cjk, caption.removed_tags});
  }
  std::cout << cleaned << '\n';
}

// clean-prompts < texts.json > cleaned.json: as Wan cleans them
void clean_prompts(const Arguments&) {
  auto cleaned = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(standard_input()))
    cleaned.push_back(eav::wan::clean_prompt(text.get<std::string>()));
  std::cout << cleaned << '\n';
}

// html-unescape < texts.json > unescaped.json
void html_unescape(const Arguments&) {
  auto unescaped = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(standard_input()))
    unescaped.push_back(eav::text::html_unescape(text.get<std::string>()));
  std::cout << unescaped << '\n';
}

// Encoders read a prompt from standard input, with the tokenizer in DIR/tokenizer and the weights in DIR/text_encoder.
// Weights are held in `storage`, computed with in `compute`.
struct EncoderArguments {
  explicit EncoderArguments(const Arguments& arguments)
      : tokenizer(std::filesystem::path(arguments.at(0)) / "tokenizer"),
        encoder(std::filesystem::path(arguments.at(0)) / "text_encoder"),
        placement{.device = eav::parse_device(option(arguments, "device", "cpu")),
                  .compute = type(option(arguments, "dtype", "float32")),
                  .storage = type(option(arguments, "storage", option(arguments, "dtype", "float32")))},
        out(option(arguments, "out")) {}

  std::filesystem::path tokenizer, encoder;
  eav::Placement placement;
  std::string out;

  at::Tensor here(const at::Tensor& tensor) const { return tensor.to(placement.device); }
};

// A part of a checkpoint, with its weights held as the arguments say.
template <class Model>
eav::Part<Model> placed(eav::Part<Model> part, const EncoderArguments& given) {
  part.place(given.placement);
  return part;
}

// t5 DIR --length N --out FILE [--dtype TYPE] [--storage TYPE] [--mask] < prompt
void t5(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  const auto prompt = eav::tokenize(eav::open_t5_tokenizer(given.tokenizer), standard_input(),
                                    std::stoll(option(arguments, "length", "226")));
  const auto encoder = placed(eav::T5Encoder::part(in_folder(given.encoder)), given);
  const auto mask =
      std::ranges::find(arguments, "--mask") == arguments.end() ? std::nullopt : std::optional(prompt.mask);
  const auto embeddings = (*encoder)(given.here(prompt.ids), mask, given.placement.compute, eav::Progress());
  eav::save_safetensors(given.out, {{"ids", prompt.ids}, {"embeddings", embeddings}}, {{"cut", prompt.cut}});
}

// umt5 DIR --length N --out FILE [--dtype TYPE] [--storage TYPE] < prompt
void umt5(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  auto prompt = eav::tokenize(eav::open_umt5_tokenizer(given.tokenizer), standard_input(),
                              std::stoll(option(arguments, "length", "512")));
  const auto ids = prompt.ids;
  prompt.ids = given.here(ids);
  const auto encoder = placed(eav::T5Encoder::part(in_folder(given.encoder)), given);
  const auto embeddings = eav::encode_without_padding(*encoder, prompt, given.placement.compute, {});
  eav::save_safetensors(given.out, {{"ids", ids}, {"embeddings", embeddings}}, {{"cut", prompt.cut}});
}

// clip DIR --length N --out FILE [--dtype TYPE] [--storage TYPE] < prompt
void clip(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  const auto prompt = eav::tokenize(eav::open_clip_tokenizer(given.tokenizer), standard_input(),
                                    std::stoll(option(arguments, "length", "77")));
  const auto encoder = placed(eav::ClipTextEncoder::part(in_folder(given.encoder)), given);
  const auto pooled = (*encoder)(given.here(prompt.ids), given.placement.compute, {});
  eav::save_safetensors(given.out, {{"ids", prompt.ids}, {"embeddings", pooled}}, {{"cut", prompt.cut}});
}

// llama DIR --skipped-layers N --out FILE [--dtype TYPE] [--storage TYPE] < prompt
void llama(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  const auto tokens = eav::open_llama_tokenizer(given.tokenizer).encode(standard_input());
  const auto ids = at::tensor(tokens, at::kLong).unsqueeze(0);
  const auto encoder = placed(
      eav::LlamaEncoder::part(in_folder(given.encoder), std::stoll(option(arguments, "skipped-layers", "2"))), given);
  eav::save_safetensors(given.out,
                        {{"ids", ids}, {"embeddings", (*encoder)(given.here(ids), given.placement.compute, {})}}, {});
}

// llava DIR --pixels FILE --skipped-layers N --out FILE [--dtype TYPE] [--storage TYPE] < ids.json: the weights are
// those of DIR itself, FILE has the tensor "pixels"
void llava(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  const auto ids = nlohmann::json::parse(standard_input()).get<std::vector<int64_t>>();
  const eav::SafetensorsFile file(option(arguments, "pixels"));
  const auto pixels = file.view(file.entries().at("pixels")).to(given.placement.device, given.placement.compute);
  const auto encoder = placed(
      eav::LlavaEncoder::part(in_folder(arguments.at(0)), std::stoll(option(arguments, "skipped-layers", "2"))), given);
  const auto embeddings = (*encoder)(given.here(at::tensor(ids, at::kLong)).unsqueeze(0), pixels, {});
  eav::save_safetensors(given.out, {{"embeddings", embeddings}}, {});
}

// clip-vision DIR --pixels FILE --out FILE [--dtype TYPE] [--storage TYPE]: the penultimate hidden states; the weights
// are those of DIR itself, FILE has the tensor "pixels"
void clip_vision(const Arguments& arguments) {
  const EncoderArguments given(arguments);
  const eav::SafetensorsFile file(option(arguments, "pixels"));
  const auto pixels = file.view(file.entries().at("pixels")).to(given.placement.device, given.placement.compute);
  const auto tower = placed(eav::ClipVisionTower::part(in_folder(arguments.at(0))), given);
  eav::save_safetensors(given.out, {{"embeddings", (*tower)(pixels, {})}}, {});
}

// cfi --shape B,TOKENS,HEADS,SIZE --frames T [--dtype TYPE] [--input FILE --out FILE]: of the tensors "query" and
// "key", or of any that has this shape
void cfi(const Arguments& arguments) {
  const auto device = eav::parse_device(option(arguments, "device", "cpu"));
  const auto dtype = type(option(arguments, "dtype", "float32"));
  const auto shape = nlohmann::json::parse("[" + option(arguments, "shape") + "]").get<std::vector<int64_t>>();
  const auto input = option(arguments, "input");
  const auto tensor = [&](const char* name) {
    if (input.empty()) return at::empty(shape, at::TensorOptions(dtype).device(device)).transpose(1, 2);
    const eav::SafetensorsFile file(input);
    return file.view(file.entries().at(name)).to(device, dtype).transpose(1, 2);  // [B, heads, T*S, d]
  };
  const auto query = tensor("query"), key = tensor("key");
  const auto result = eav::cfi(query, key, std::stoll(option(arguments, "frames")));
  if (!input.empty()) eav::save_safetensors(option(arguments, "out"), {{"cfi", result}}, {});
}

// clip-image CONFIG --picture FILE --out FILE: a picture as the processor of CONFIG, a preprocessor_config.json, gives
// it
void clip_image(const Arguments& arguments) {
  const eav::ClipImageProcessor process(eav::JsonFile(arguments.at(0)));
  const auto pixels = process(eav::read_frames(option(arguments, "picture"), 1)[0]);
  eav::save_safetensors(option(arguments, "out"), {{"pixels", pixels}}, {});
}

// pictures FILE --out FILE [--height N --width N --filter bicubic|lanczos]: reads frames, and resizes them
void pictures(const Arguments& arguments) {
  auto frames = eav::read_frames(arguments.at(0));
  if (const auto height = option(arguments, "height"); !height.empty())
    frames = eav::resize(frames, std::stoll(height), std::stoll(option(arguments, "width")),
                         option(arguments, "filter") == "bicubic" ? eav::Filter::bicubic : eav::Filter::lanczos);
  eav::save_safetensors(option(arguments, "out"), {{"frames", frames}}, {});
}

// names PART KEYS.json --number N > what each key of another writer holds; N is what the part's names ask for
void names(const Arguments& arguments) {
  const auto number = std::stoll(option(arguments, "number", "0"));
  const std::map<std::string, eav::OriginalNames> parts{
      {"wan-transformer", eav::wan::transformer_names},
      {"wan-vae", [=](const std::string& key) { return eav::wan::vae_names(key, number != 0); }},
      {"hunyuan-video-transformer",
       [=](const std::string& key) { return eav::hunyuan_video::transformer_names(key, number); }},
      {"hunyuan-video-vae", eav::hunyuan_video::vae_names}};
  auto named = nlohmann::json::object();
  for (const auto& key : nlohmann::json::parse(std::ifstream(arguments.at(1))))
    for (const auto& rows : parts.at(arguments.at(0))(key)) {
      const auto end = rows.end ? nlohmann::json(*rows.end) : nlohmann::json();
      named[key.get<std::string>()].push_back(
          {{"key", rows.key}, {"begin", rows.begin}, {"end", end}, {"at", rows.at}});
    }
  std::cout << named;
}

// single-file FILE --text-encoder DIR --out FILE > configurations.json: the tensors, as models read them
void single_file(const Arguments& arguments) {
  const std::filesystem::path file = arguments.at(0);
  const auto parts = eav::ltx_video::open_single_file(
      {.model = file, .text_encoder = option(arguments, "text-encoder")}, eav::FileTable(file));
  std::map<std::string, at::Tensor> tensors;
  const std::map<std::string, eav::CheckpointSource> sources{{"transformer", parts.transformer.tensors},
                                                             {"vae", parts.vae.tensors}};
  for (const auto& [name, source] : sources) {
    const auto checkpoint = eav::Checkpoint::open(source, {});
    for (const auto& [key, place] : checkpoint.index()) tensors[name + "." + key] = checkpoint.load(key);
    checkpoint.check_all_read();
  }
  eav::save_safetensors(option(arguments, "out"), tensors, {});
  std::cout << nlohmann::json{{"transformer", parts.transformer.config.json()},
                              {"vae", parts.vae.config.json()},
                              {"scheduler", parts.scheduler_config.json()},
                              {"conditional", parts.conditional}};
}

}  // namespace

int main(int argc, char** argv) try {
  const std::map<std::string, void (*)(const Arguments&)> commands{
      {"cfi", cfi},
      {"clean-captions", clean_captions},
      {"clean-prompts", clean_prompts},
      {"clip", clip},
      {"clip-image", clip_image},
      {"clip-vision", clip_vision},
      {"html-unescape", html_unescape},
      {"latent-upsampler", latent_upsampler},
      {"latents", [](const Arguments& given) { latents(given); }},
      {"llama", llama},
      {"open_sora", open_sora},
      {"llava", llava},
      {"names", names},
      {"phase", phase},
      {"pictures", pictures},
      {"plan", plan},
      {"single-file", single_file},
      {"t5", t5},
      {"tensors", [](const Arguments& given) { tensors(given); }},
      {"tokens", tokens},
      {"umt5", umt5},
      {"vae", vae},
  };
  const Arguments arguments(argv + 1, argv + argc);
  const c10::InferenceMode inference;
  commands.at(arguments.at(0))({arguments.begin() + 1, arguments.end()});
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
