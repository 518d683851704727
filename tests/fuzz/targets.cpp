#include "targets.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/json.h"
#include "eav/error.h"
#include "eav/record.h"
#include "models/cogvideox/config.h"
#include "models/cogvideox/vae_config.h"
#include "models/hunyuan_video/config.h"
#include "models/hunyuan_video/vae_config.h"
#include "models/ltx_video/config.h"
#include "models/ltx_video/vae_config.h"
#include "models/open_sora/config.h"
#include "models/open_sora/vae_config.h"
#include "text/caption_cleaning.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/tokenizer_json.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/unigram.h"
#include "weights/config.h"
#include "weights/safetensors.h"

namespace eav::fuzz {
namespace {

// Runs a reader; what is refused is no fault.
template <class Read>
void refusing(Read read) {
  try {
    read();
  } catch (const Error&) {
  }
}

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

void spiece(std::string_view bytes) {
  refusing([&] {
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
  refusing([&] {
    const JsonFile file("tokenizer.json", parse_json(bytes));
    refusing([&] { text::read_unigram_parts(file).normalizer("a red ﬁ"); });
    encode(text::read_tokenizer_json(file));
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
}

void configuration(std::string_view bytes) {
  refusing([&] {
    const JsonFile file("config.json", parse_json(bytes));
    refusing([&] { cogvideox::TransformerConfig::read(file); });
    refusing([&] { cogvideox::VaeConfig::read(file); });
    refusing([&] { hunyuan_video::TransformerConfig::read(file); });
    refusing([&] { hunyuan_video::VaeConfig::read(file); });
    refusing([&] { ltx_video::TransformerConfig::read(file); });
    refusing([&] { ltx_video::VaeConfig::read(file); });
    refusing([&] { ltx_video::VaeEncoderConfig::read(file); });
    refusing([&] { open_sora::TransformerConfig::read(file); });
    refusing([&] { open_sora::VaeConfig::read(file); });
  });
}

void safetensors(std::string_view bytes) {
  const MemoryFile memory(bytes);
  refusing([&] {
    const SafetensorsFile file(memory.path());
    for (const auto& [key, entry] : file.entries()) file.view(entry, SafetensorsFile::Use::copying);
  });
}

void record(std::string_view bytes) {
  refusing([&] { parse_record(bytes, "record.json"); });
}

void trace(std::string_view bytes) {
  refusing([&] { to_json(parse_trace(bytes, "trace.json")); });
}

}  // namespace

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all{
      {"caption", caption},
      {"charsmap", charsmap},
      {"configuration", configuration},
      {"prompt", prompt},
      {"record", record},
      {"safetensors", safetensors},
      {"spiece", spiece},
      {"tokenizer_json", tokenizer_json},
      {"trace", trace},
  };
  return all;
}

}  // namespace eav::fuzz
