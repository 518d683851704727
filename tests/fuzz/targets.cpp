#include "targets.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "base/json.h"
#include "eav/error.h"
#include "eav/record.h"
#include "eav/video.h"
#include "hub/choice.h"
#include "hub/listing.h"
#include "models/clip_image.h"
#include "models/cogvideox/config.h"
#include "models/cogvideox/vae_config.h"
#include "models/hunyuan_video/config.h"
#include "models/hunyuan_video/vae_config.h"
#include "models/ltx_video/config.h"
#include "models/ltx_video/latent_upsampler.h"
#include "models/ltx_video/vae_config.h"
#include "models/open_sora/config.h"
#include "models/open_sora/vae_config.h"
#include "models/wan/config.h"
#include "models/wan/prompt_cleaning.h"
#include "models/wan/vae_config.h"
#include "schedulers/cogvideox.h"
#include "schedulers/flow_match_euler.h"
#include "schedulers/unipc.h"
#include "text/caption_cleaning.h"
#include "text/clip.h"
#include "text/clip_tokenizer.h"
#include "text/clip_vision.h"
#include "text/llama.h"
#include "text/llama_tokenizer.h"
#include "text/llava.h"
#include "text/t5.h"
#include "text/t5_tokenizer.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/tokenizer_json.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/unigram.h"
#include "text/umt5_tokenizer.h"
#include "weights/config.h"
#include "weights/lora_file.h"
#include "weights/safetensors.h"
#include "weights/weight_files.h"

namespace eav::fuzz {
namespace {

// Runs a reader; what is refused in one line is no fault.
template <class Read>
void refusing(Read read) {
  try {
    read();
  } catch (const Error& error) {
    if (*error.what() == '\0') throw std::logic_error("a file was refused without a word");
  }
}

// The same of a reader of `file`, whose errors name it.
template <class Read>
void refusing(const std::string& file, Read read) {
  refusing([&] {
    try {
      read();
    } catch (const Error& error) {
      if (std::string_view(error.what()).find(file) == std::string_view::npos)
        throw std::logic_error(fmt::format("an error does not name {}: {}", file, error.what()));
      throw;
    }
  });
}

// A folder in memory, for readers of several files.
class MemoryFolder {
 public:
  MemoryFolder() {
    std::string name = "/dev/shm/eav-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder in memory");
    path_ = name;
  }
  ~MemoryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), std::ssize(bytes));
  }
  void remove(const std::string& name) const { std::filesystem::remove(path_ / name); }

 private:
  std::filesystem::path path_;
};

// A file in memory, for readers that map theirs.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(::memfd_create("input", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, bytes.data(), bytes.size()) != std::ssize(bytes))
      throw std::runtime_error("no file in memory");
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

 private:
  int descriptor_;
};

const std::vector<std::string>& prompts() {
  static const std::vector<std::string> all{"",
                                            "a red circle moving left",
                                            "  a\t\nb  ",
                                            "é\u0301ﬁ ﷺ 円 👩‍👩‍👧 \x7f",
                                            "</s><extra_id_0> <0x41>",
                                            std::string(300, 'x'),
                                            "don't 1234"};
  return all;
}

void encode(const Tokenizer& tokenizer) {
  for (const auto& prompt : prompts()) refusing([&] { tokenizer.decode(tokenizer.encode(prompt)); });
}

void encode_unigram(const text::UnigramParts& parts) {
  const text::Unigram model(parts.vocabulary, std::nullopt);
  for (const auto& prompt : prompts())
    refusing([&] {
      std::vector<int64_t> ids;
      if (const auto word = parts.normalizer(prompt); !word.empty()) model.tokenize(word, ids);
    });
}

void sentencepiece_model(std::string_view bytes) {
  refusing("spiece.model", [&] {
    const auto model = text::read_sentencepiece_model(bytes, "spiece.model");
    for (const auto& prompt : prompts()) {
      std::vector<int64_t> ids;
      model.tokenize(prompt, ids);
    }
  });
}

void spiece(std::string_view bytes) {
  sentencepiece_model(bytes);
  refusing("spiece.model", [&] {
    const auto parts = text::read_sentencepiece(bytes, "spiece.model");
    const text::Unigram model(parts.vocabulary, 0, /*byte_fallback=*/true);
    for (const auto& prompt : prompts()) {
      std::vector<int64_t> ids;
      if (const auto word = parts.normalizer(prompt); !word.empty()) model.tokenize(word, ids);
    }
  });
}

void charsmap(std::string_view bytes) {
  refusing([&] {
    const text::Charsmap map(bytes);
    for (const auto& prompt : prompts()) map(prompt);
    map(text::repaired_utf8(bytes));
  });
}

void tokenizer_json(std::string_view bytes) {
  refusing("tokenizer.json", [&] {
    const JsonFile file("tokenizer.json", parse_json(bytes));
    refusing("tokenizer.json", [&] { encode_unigram(text::read_unigram_parts(file)); });
    encode(text::read_tokenizer_json(file));
  });
}

// The files of a tokenizer's folder, one behind the other.
void tokenizer_folder(std::string_view bytes) {
  constexpr std::string_view kEnd = "\n---\n";
  static const MemoryFolder folder;
  static const auto name = folder.path().filename().string();
  for (const auto* file : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                           "vocab.json", "merges.txt"}) {
    const auto part = bytes.substr(0, bytes.find(kEnd));
    bytes.remove_prefix(std::min(bytes.size(), part.size() + kEnd.size()));
    part.empty() ? folder.remove(file) : folder.write(file, part);
  }
  for (const auto open : {open_t5_tokenizer, open_umt5_tokenizer, open_clip_tokenizer, open_llama_tokenizer})
    refusing(name, [&] {
      const auto tokenizer = open(folder.path());
      encode(tokenizer);
    });
}

void prompt(std::string_view bytes) {
  // Every kind of stage that released tokenizers have.
  static const auto tokenizers = [] {
    const auto make = [](const char* json) {
      return text::read_tokenizer_json(JsonFile("tokenizer.json", parse_json(json)));
    };
    std::vector<Tokenizer> all;
    all.push_back(make(R"({"added_tokens": [{"id": 1, "content": "</s>", "special": true},
        {"id": 9, "content": "the red", "lstrip": true, "rstrip": true, "single_word": true, "normalized": true}],
      "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Strip", "strip_left": true,
        "strip_right": true}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true}]},
      "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true},
      "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true,
        "vocab": [["<unk>", 0], ["</s>", 0], ["▁", -1], ["a", -2], ["▁a", -1.5], ["the", -3], ["<0xC3>", -4]]}})"));
    all.push_back(make(R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
      "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "invert": false, "behavior": "Isolated",
        "pattern": {"Regex": "'s|'t|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
      "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "unk_token": "a", "fuse_unk": true, "vocab": {"a": 0, "Ġ": 1, "b": 2, "Ġb": 3, "ab": 4},
        "merges": ["Ġ b", "a b"]}})"));
    return all;
  }();
  for (const auto& tokenizer : tokenizers) refusing([&] { tokenizer.decode(tokenizer.encode(bytes)); });
}

void caption(std::string_view bytes) {
  const std::string text(bytes);
  refusing([&] { clean_caption(text); });
  refusing([&] { plain_caption(text); });
  refusing([&] { wan::clean_prompt(text); });
}

template <class Config>
void read_config(const JsonFile& file) {
  refusing("config.json", [&] { Config::read(file); });
}
template <class Config>
void make_config(const JsonFile& file) {
  refusing("config.json", [&] { const Config config(file); });
}

void configuration(std::string_view bytes) {
  refusing("config.json", [&] {
    const JsonFile file("config.json", parse_json(bytes));
    read_config<cogvideox::TransformerConfig>(file);
    read_config<cogvideox::VaeConfig>(file);
    read_config<hunyuan_video::TransformerConfig>(file);
    read_config<hunyuan_video::VaeConfig>(file);
    read_config<ltx_video::TransformerConfig>(file);
    read_config<ltx_video::VaeConfig>(file);
    read_config<ltx_video::VaeEncoderConfig>(file);
    read_config<ltx_video::UpsamplerConfig>(file);
    read_config<open_sora::TransformerConfig>(file);
    read_config<open_sora::VaeConfig>(file);
    read_config<wan::TransformerConfig>(file);
    read_config<wan::VaeConfig>(file);
    make_config<T5Config>(file);
    make_config<ClipConfig>(file);
    make_config<ClipVisionConfig>(file);
    make_config<LlamaConfig>(file);
    make_config<LlavaConfig>(file);
    make_config<ClipImageProcessor>(file);
  });
}

void scheduler(std::string_view bytes) {
  refusing("config.json", [&] {
    const JsonFile file("config.json", parse_json(bytes));
    refusing([&] { CogVideoXScheduler(file, CogVideoXScheduler::kind_of(file), 5).timesteps(); });
    refusing([&] {
      FlowMatchEulerScheduler flow(file);
      flow.set_sigmas(at::linspace(1, 0.1, 5), 1000);
      flow.set_steps(5);
    });
    refusing([&] {
      UniPcScheduler unipc(file, std::nullopt, 4);
      auto generator = at::detail::createCPUGenerator(0);
      auto latents = at::ones({2});
      for (int64_t i = 0; i < unipc.steps(); ++i) latents = unipc.step(at::ones({2}), i, latents, generator);
    });
  });
}

void shard_index(std::string_view bytes) {
  refusing("index.json", [&] { read_index(JsonFile("index.json", parse_json(bytes))); });
}

void safetensors(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing(memory.path(), [&] {
    const SafetensorsFile file(memory.path());
    for (const auto& [key, entry] : file.entries()) file.view(entry);
  });
}

void lora(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing(memory.path(), [&] {
    const LoraFile file(memory.path());
    file.info();
    for (const auto& layer : file.layers()) {
      constexpr int64_t kMost = 1 << 20;  // numbers of a change that is computed
      for (const auto* delta : {&layer.weight, &layer.bias})
        if (*delta && (*delta)->columns() <= kMost / (*delta)->rows()) (*delta)->dense(0, (*delta)->rows(), at::kCPU);
    }
  });
}

// What a single file is.
void single_file(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing(memory.path(), [&] { inspect_file(memory.path()); });
}

void gguf(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing(memory.path(), [&] {
    read_gguf_table(memory.path(), bytes);
    const TensorFile file(memory.path());
    for (const auto& [key, entry] : file.entries()) file.view(entry);
  });
}

void media(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing(memory.path(), [&] { read_frames(memory.path(), 3); });
}

void metadata(std::string_view bytes) {
  static const MemoryFolder folder;
  folder.write("video.mp4", bytes);
  refusing("video.mp4", [&] { read_metadata(folder.path() / "video.mp4"); });
}

void record(std::string_view bytes) {
  refusing("record.json", [&] { parse_record(bytes, "record.json"); });
}

void trace(std::string_view bytes) {
  refusing("trace.json", [&] {
    const auto trace = parse_trace(bytes, "trace.json");
    to_json(trace);
    describe(trace);
    unscaled_layers(trace);
  });
}

void hub_listing(std::string_view bytes) {
  refusing("the hub", [&] {
    const auto listing = parse_listing(bytes, "the hub");
    for (const auto* name : {"some/model", "some/model:vae", "some/model:a.safetensors"})
      refusing([&] {
        for (const auto& file : choose_files(listing, *parse_hub_name(name)).files)
          if (!stays_inside(file.path)) throw std::logic_error("a file would lie outside: " + file.path);
      });
  });
}

}  // namespace

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all{
      {"caption", caption},
      {"charsmap", charsmap},
      {"configuration", configuration},
      {"gguf", gguf},
      {"hub_listing", hub_listing},
      {"lora", lora},
      {"media", media},
      {"metadata", metadata},
      {"prompt", prompt},
      {"record", record},
      {"safetensors", safetensors},
      {"scheduler", scheduler},
      {"shard_index", shard_index},
      {"single_file", single_file},
      {"spiece", spiece},
      {"tokenizer_folder", tokenizer_folder},
      {"tokenizer_json", tokenizer_json},
      {"trace", trace},
  };
  return all;
}

}  // namespace eav::fuzz
