#include "text/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "eav/error.h"
#include "text/base64.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/charsmap.h"
#include "weights/config.h"

namespace eav::text {
namespace {

using Json = nlohmann::json;

// The errors below leave out the file, which guarded() puts before them.
[[noreturn]] void unsupported(const std::string& stage, const std::string& type) {
  throw Error(fmt::format("the {} \"{}\" is not supported", stage, type));
}

std::string type_of(const Json& part) { return part.at("type").get<std::string>(); }

// A field that may be missing or null.
template <class T>
T value_or(const Json& part, const char* field, const T& fallback) {
  const auto found = part.find(field);
  return found == part.end() || found->is_null() ? fallback : found->get<T>();
}
bool is_set(const Json& part, const char* field) { return part.contains(field) && !part.at(field).is_null(); }

// Reads every entry of a list with `read`, and chains what comes out.
template <class Read>
auto chain(const Json& parts, Read read) {
  std::vector<decltype(read(parts))> all;
  for (const auto& part : parts) all.push_back(read(part));
  return in_order(std::move(all));
}

Pattern read_pattern(const Json& pattern) {
  if (pattern.contains("String")) return literal(pattern.at("String").get<std::string>());
  return regex(pattern.at("Regex").get<std::string>());
}

Charsmap read_charsmap(const std::string& text) {
  const auto bytes = from_base64(text);
  if (!bytes) throw Error("precompiled_charsmap is no base64");
  return Charsmap(*bytes);
}

Normalizer read_normalizer(const Json& part) {
  const auto type = type_of(part);
  if (type == "Sequence") return chain(part.at("normalizers"), read_normalizer);
  if (type == "Precompiled") return read_charsmap(part.at("precompiled_charsmap").get<std::string>());
  if (type == "NFC") return normal_form(NormalForm::C);
  if (type == "NFD") return normal_form(NormalForm::D);
  if (type == "NFKC") return normal_form(NormalForm::KC);
  if (type == "NFKD") return normal_form(NormalForm::KD);
  if (type == "Lowercase") return lowercased();
  if (type == "Strip") return stripped(part.at("strip_left").get<bool>(), part.at("strip_right").get<bool>());
  if (type == "Prepend") return prepended(part.at("prepend").get<std::string>());
  if (type == "Replace") return replaced(read_pattern(part.at("pattern")), part.at("content").get<std::string>());
  unsupported("normalizer", type);
}

Delimiter read_delimiter(const std::string& behavior) {
  if (behavior == "Removed") return Delimiter::removed;
  if (behavior == "Isolated") return Delimiter::isolated;
  if (behavior == "MergedWithPrevious") return Delimiter::merged_with_previous;
  if (behavior == "MergedWithNext") return Delimiter::merged_with_next;
  if (behavior == "Contiguous") return Delimiter::contiguous;
  unsupported("split behavior", behavior);
}

// Older files have a flag where newer ones name a scheme.
Prepend read_prepend(const Json& part) {
  if (!value_or(part, "add_prefix_space", true)) return Prepend::never;
  const auto scheme = value_or<std::string>(part, "prepend_scheme", "always");
  if (scheme == "always") return Prepend::always;
  if (scheme == "first") return Prepend::first;
  if (scheme == "never") return Prepend::never;
  unsupported("prepend_scheme", scheme);
}

PreTokenizer read_pre_tokenizer(const Json& part) {
  const auto type = type_of(part);
  if (type == "Sequence") return chain(part.at("pretokenizers"), read_pre_tokenizer);
  if (type == "WhitespaceSplit") return split_at(whitespace(), Delimiter::removed);
  if (type == "Metaspace")
    return metaspace(part.at("replacement").get<std::string>(), read_prepend(part), value_or(part, "split", true));
  if (type == "ByteLevel")
    return byte_level(part.at("add_prefix_space").get<bool>(), value_or(part, "use_regex", true));
  if (type == "Split") {
    auto pattern = read_pattern(part.at("pattern"));
    if (part.at("invert").get<bool>()) pattern = inverse(std::move(pattern));
    return split_at(std::move(pattern), read_delimiter(part.at("behavior").get<std::string>()));
  }
  unsupported("pre-tokenizer", type);
}

Decoder read_decoder(const Json& part) {
  const auto type = type_of(part);
  if (type == "Sequence") return chain(part.at("decoders"), read_decoder);
  if (type == "Metaspace")
    return metaspace_decoder(part.at("replacement").get<std::string>(), read_prepend(part) != Prepend::never);
  if (type == "ByteLevel") return byte_level_decoder();
  if (type == "ByteFallback") return byte_fallback_decoder();
  if (type == "Replace") return each(read_normalizer(part));
  if (type == "Fuse") return joined();
  unsupported("decoder", type);
}

// Puts what the post-processor adds around a text outside of what `stages` adds already.
void read_post_processor(const Json& part, TokenizerStages& stages) {
  const auto type = type_of(part);
  const auto enclose = [&](const std::vector<int64_t>& before, const std::vector<int64_t>& after) {
    stages.before.insert(stages.before.begin(), before.begin(), before.end());
    stages.after.insert(stages.after.end(), after.begin(), after.end());
  };
  if (type == "Sequence") {
    for (const auto& processor : part.at("processors")) read_post_processor(processor, stages);
  } else if (type == "TemplateProcessing") {
    std::vector<int64_t> around[2];  // before the text and after it
    bool behind = false;
    for (const auto& item : part.at("single")) {
      if (item.contains("Sequence")) {
        if (behind) throw Error("the post-processor's template holds the text twice, which is not supported");
        behind = true;
        continue;
      }
      const auto& token = part.at("special_tokens").at(item.at("SpecialToken").at("id").get<std::string>());
      for (const auto& id : token.at("ids")) around[behind].push_back(whole_number(id));
    }
    enclose(around[0], around[1]);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    enclose({whole_number(part.at("cls").at(1))}, {whole_number(part.at("sep").at(1))});
  } else if (type != "ByteLevel") {  // that one changes positions in the text, not ids
    unsupported("post-processor", type);
  }
}

Unigram::Vocabulary read_unigram_vocabulary(const Json& model) {
  Unigram::Vocabulary vocabulary;
  for (const auto& entry : model.at("vocab"))
    vocabulary.emplace_back(entry.at(0).get<std::string>(), entry.at(1).get<double>());
  return vocabulary;
}

std::pair<std::string, std::string> read_merge(const Json& merge) {
  if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  return parse_merge(merge.get<std::string>());  // older files: both in one string
}

// Older files leave the type out; a list of merges tells BPE.
std::string model_type(const Json& model) {
  return value_or<std::string>(model, "type", model.contains("merges") ? "BPE" : "Unigram");
}

std::shared_ptr<const Model> read_model(const Json& model) {
  const auto type = model_type(model);
  if (type == "Unigram") {
    const auto unknown = is_set(model, "unk_id") ? std::optional(whole_number(model.at("unk_id"))) : std::nullopt;
    return std::make_shared<Unigram>(read_unigram_vocabulary(model), unknown, value_or(model, "byte_fallback", false));
  }
  if (type != "BPE") unsupported("model", type);
  if (value_or(model, "dropout", 0.0) != 0)
    throw Error("a BPE model with dropout gives random ids, which is not supported");
  Bpe::Merges merges;
  for (const auto& merge : model.at("merges")) merges.push_back(read_merge(merge));
  BpeOptions options{
      .unknown = value_or<std::string>(model, "unk_token", ""),
      .continuing_subword_prefix = value_or<std::string>(model, "continuing_subword_prefix", ""),
      .end_of_word_suffix = value_or<std::string>(model, "end_of_word_suffix", ""),
      .fuse_unknown = value_or(model, "fuse_unk", false),
      .byte_fallback = value_or(model, "byte_fallback", false),
      .ignore_merges = value_or(model, "ignore_merges", false),
  };
  return std::make_shared<Bpe>(read_bpe_vocabulary(model.at("vocab")), merges, std::move(options));
}

AddedToken read_added_token(const Json& token) {
  return {
      .content = token.at("content").get<std::string>(),
      .single_word = value_or(token, "single_word", false),
      .lstrip = value_or(token, "lstrip", false),
      .rstrip = value_or(token, "rstrip", false),
      .normalized = value_or(token, "normalized", !value_or(token, "special", false)),
  };
}

// Runs `read` on the file's JSON, and names the file in what it throws.
template <class Read>
auto guarded(const JsonFile& file, Read read) {
  try {
    return read(file.json());
  } catch (const Json::exception& error) {
    throw Error(fmt::format("{}: is no valid tokenizer: {}", file.path().string(), error.what()));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.path().string(), error.what()));
  }
}

}  // namespace

Bpe::Vocabulary read_bpe_vocabulary(const Json& ids) {
  Bpe::Vocabulary vocabulary;
  for (const auto& [token, id] : ids.get_ref<const Json::object_t&>()) vocabulary[token] = whole_number(id);
  return vocabulary;
}

Tokenizer read_tokenizer_json(const JsonFile& file) {
  return guarded(file, [](const Json& json) {
    TokenizerStages stages;
    stages.model = read_model(json.at("model"));
    if (is_set(json, "normalizer")) stages.normalizer = read_normalizer(json.at("normalizer"));
    if (is_set(json, "pre_tokenizer")) stages.pre_tokenizer = read_pre_tokenizer(json.at("pre_tokenizer"));
    if (is_set(json, "post_processor")) read_post_processor(json.at("post_processor"), stages);
    if (is_set(json, "decoder")) stages.decoder = read_decoder(json.at("decoder"));
    std::vector<AddedToken> tokens;
    if (is_set(json, "added_tokens"))
      for (const auto& token : json.at("added_tokens")) tokens.push_back(read_added_token(token));
    stages.added_tokens = AddedTokens(std::move(tokens), *stages.model, stages.normalizer);
    return Tokenizer(std::move(stages));
  });
}

UnigramParts read_unigram_parts(const JsonFile& file) {
  return guarded(file, [](const Json& json) {
    const auto& model = json.at("model");
    if (const auto type = model_type(model); type != "Unigram")
      throw Error(fmt::format("the model is \"{}\", expected \"Unigram\"", type));
    UnigramParts parts;
    parts.vocabulary = read_unigram_vocabulary(model);
    if (!is_set(json, "normalizer")) return parts;
    const auto& normalizer = json.at("normalizer");
    const auto all = type_of(normalizer) == "Sequence" ? normalizer.at("normalizers") : Json::array({normalizer});
    const auto table = std::ranges::find_if(all, [](const Json& part) { return type_of(part) == "Precompiled"; });
    if (table != all.end()) parts.normalizer = read_normalizer(*table);
    return parts;
  });
}

}  // namespace eav::text
