#include "text/encoder_files.h"

#include <fmt/format.h>

#include <cctype>
#include <cmath>
#include <map>
#include <memory>

#include "base/regular_file.h"
#include "text/original_names.h"
#include "text/t5_folders.h"
#include "text/t5_tokenizer.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/umt5_tokenizer.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

using Json = nlohmann::json;

FilePart found(std::string name, std::string what, const FileTable& file, OriginalNames names, Json config) {
  return {
      {std::move(name), JsonFile(file.path(), std::move(config)), {.path = file.path(), .rename = std::move(names)}},
      std::move(what)};
}

// ---- T5 -------------------------------------------------------------------------------------------------------------

struct T5Spelling {
  std::string_view known;  // a key
  std::vector<NamedRows> (*names)(const std::string& key);
};
constexpr T5Spelling kT5Spellings[]{
    {"encoder.block.0.layer.0.SelfAttention.q.weight", nullptr},
    {"blocks.0.pos_embedding.embedding.weight", wan_t5_names},
    {"enc.blk.0.attn_q.weight", llama_cpp_t5_names},
};

// llama.cpp's keys of the values of a file's header that are a tokenizer.
std::string ggml(const std::string& name) { return fmt::format("tokenizer.ggml.{}", name); }

template <class T>
const T* value_of(const std::map<std::string, GgufValue>& values, const char* name) {
  const auto found = values.find(ggml(name));
  return found == values.end() ? nullptr : std::get_if<T>(&found->second);
}

// A SentencePiece model as llama.cpp keeps it in a file's header, whose numbers of kinds are SentencePiece's own;
// nothing where there is none. Throws eav::Error where it is none that is valid.
std::optional<text::StoredPieces> pieces_in(const FileTable& file) {
  const auto& values = file.checkpoint().files().front().values();
  const auto flag = [&](const char* name) {
    const auto* set = value_of<bool>(values, name);
    return set == nullptr || *set;
  };
  const auto* tokens = value_of<std::vector<std::string>>(values, "tokens");
  const auto* scores = value_of<std::vector<double>>(values, "scores");
  const auto* kinds = value_of<std::vector<int64_t>>(values, "token_type");
  const auto* charsmap = value_of<std::vector<int64_t>>(values, "precompiled_charsmap");
  if (tokens == nullptr || scores == nullptr || kinds == nullptr || tokens->empty() ||
      scores->size() != tokens->size() || kinds->size() != tokens->size())
    return std::nullopt;
  text::StoredPieces stored;
  for (size_t i = 0; i < tokens->size(); ++i) {
    const auto kind = static_cast<text::SentencePiece::Kind>((*kinds)[i]);
    stored.pieces.push_back({(*tokens)[i], static_cast<float>((*scores)[i]), kind});
    stored.byte_fallback = stored.byte_fallback || kind == text::SentencePiece::kByte;
  }
  if (charsmap != nullptr)
    for (const auto byte : *charsmap) stored.charsmap.push_back(static_cast<char>(byte));
  stored.spaces.add_dummy_prefix = flag("add_space_prefix");
  stored.spaces.remove_extra = flag("remove_extra_whitespaces");
  check_pieces(stored, file.path().string());
  return stored;
}

std::string bytes_of(const FileTable& file, const std::string& key) {
  std::string bytes;
  file.checkpoint().each_below(key, [&](const std::string& found, const auto& in, const auto& entry) {
    if (found != key) return;
    bytes.resize(entry.end - entry.begin);
    in.copy(entry, bytes.data());
  });
  return bytes;
}

}  // namespace

std::optional<std::string> spiece_model_of(const std::filesystem::path& encoder, const ModelPaths& paths) {
  if (!std::filesystem::is_directory(encoder)) {
    const FileTable file(encoder);
    if (const auto prefix = file.before(kSentencePiece)) return bytes_of(file, *prefix + kSentencePiece);
  }
  const auto folder = std::filesystem::is_directory(encoder) ? encoder : std::filesystem::path();
  for (const auto& dir : {paths.tokenizer, paths.tokenizer / "tokenizer", folder, folder / "tokenizer",
                          encoder.parent_path() / "tokenizer", paths.model / "google" / "umt5-xxl"})
    if (const auto file = dir / "spiece.model"; !dir.empty() && std::filesystem::is_regular_file(file))
      return read_file(file);
  return std::nullopt;
}

std::map<std::string, GgufValue> gguf_tokenizer_of(const std::filesystem::path& encoder, const ModelPaths& paths) {
  std::optional<text::StoredPieces> stored;
  if (const auto bytes = spiece_model_of(encoder, paths))
    stored = text::read_stored_pieces(*bytes, kSentencePiece);
  else if (!std::filesystem::is_directory(encoder))
    stored = pieces_in(FileTable(encoder));
  if (!stored) return {};
  std::vector<std::string> tokens;
  std::vector<double> scores;
  std::vector<int64_t> kinds;
  std::map<std::string, GgufValue> values;
  for (const auto& [text, score, kind] : stored->pieces) {
    for (const auto& [name, token] :
         {std::pair{"eos", "</s>"}, std::pair{"padding", "<pad>"}, std::pair{"unknown", "<unk>"}})
      if (text == token) values.emplace(ggml(fmt::format("{}_token_id", name)), uint64_t{tokens.size()});
    tokens.push_back(text);
    scores.push_back(score);
    kinds.push_back(static_cast<int64_t>(kind));
  }
  const auto& charsmap = stored->charsmap;
  if (!charsmap.empty())
    values.emplace(ggml("precompiled_charsmap"), std::vector<int64_t>(charsmap.begin(), charsmap.end()));
  values.merge(std::map<std::string, GgufValue>{
      {ggml("model"), std::string("t5")},
      {ggml("add_space_prefix"), stored->spaces.add_dummy_prefix},
      {ggml("remove_extra_whitespaces"), stored->spaces.remove_extra},
      {ggml("tokens"), std::move(tokens)},
      {ggml("scores"), std::move(scores)},
      {ggml("token_type"), std::move(kinds)},
  });
  return values;
}

std::optional<FilePart> t5_in(const FileTable& file) {
  for (const auto& [known, names] : kT5Spellings) {
    const auto prefix = file.before(known);
    if (!prefix) continue;
    auto rename = [inner = below(*prefix, names ? OriginalNames(names) : OriginalNames())](
                      const std::string& key) -> std::vector<NamedRows> {
      if (key.ends_with(kSentencePiece)) return {};
      return inner(key);
    };
    const FileTable t({.path = file.path(), .rename = rename});
    const std::string block = "encoder.block.0.", attention = block + "layer.0.SelfAttention.",
                      dense = block + "layer.1.DenseReluDense.";
    const bool umt5 = t.has("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight");
    const bool gated = t.has(dense + "wi_0.weight");
    const auto heads = t.length(attention + "relative_attention_bias.weight", 1),
               rows = t.length(attention + "q.weight", 0);
    if (heads < 1 || rows % heads != 0)
      throw Error(fmt::format("{}: its T5 has {} rows of queries for {} heads", file.path().string(), rows, heads));
    return found("text_encoder", umt5 ? "UMT5-XXL" : "T5-XXL", file, std::move(rename),
                 {{"architectures", {umt5 ? "UMT5EncoderModel" : "T5EncoderModel"}},
                  {"model_type", umt5 ? "umt5" : "t5"},
                  {"d_model", t.length("shared.weight", 1)},
                  {"vocab_size", t.length("shared.weight", 0)},
                  {"num_heads", heads},
                  {"d_kv", rows / heads},
                  {"d_ff", t.length(dense + (gated ? "wi_0.weight" : "wi.weight"), 0)},
                  {"num_layers", t.count("encoder.block.")},
                  {"relative_attention_num_buckets", t.length(attention + "relative_attention_bias.weight", 0)},
                  {"relative_attention_max_distance", 128},
                  {"layer_norm_epsilon", 1e-6},
                  {"feed_forward_proj", gated ? "gated-gelu" : "relu"}});
  }
  return std::nullopt;
}

// ---- CLIP and LLaMA -------------------------------------------------------------------------------------------------

namespace {

// The fields that CLIP's two halves share; `t` has the keys without a prefix.
Json clip_config(const FileTable& t, const char* kind, int64_t head_dim, bool quick_gelu) {
  const auto channels = t.length("encoder.layers.0.self_attn.q_proj.weight", 0);
  return {{"architectures", {kind}},
          {"hidden_size", channels},
          {"num_attention_heads", std::max<int64_t>(channels / head_dim, 1)},
          {"intermediate_size", t.length("encoder.layers.0.mlp.fc1.weight", 0)},
          {"num_hidden_layers", t.count("encoder.layers.")},
          {"layer_norm_eps", 1e-5},
          {"hidden_act", quick_gelu ? "quick_gelu" : "gelu"}};
}

}  // namespace

std::optional<FilePart> clip_text_in(const FileTable& file) {
  const auto prefix = file.before("embeddings.token_embedding.weight");
  if (!prefix) return std::nullopt;
  const auto names = below(*prefix);
  const FileTable t({.path = file.path(), .rename = names});
  constexpr int64_t kHeadDim = 64;
  auto config = clip_config(t, "CLIPTextModel", kHeadDim, /*quick_gelu=*/true);
  config["vocab_size"] = t.length("embeddings.token_embedding.weight", 0);
  config["max_position_embeddings"] = t.length("embeddings.position_embedding.weight", 0);
  config["eos_token_id"] = 2;
  return found("text_encoder_2", "CLIP-L", file, names, std::move(config));
}

std::optional<FilePart> clip_vision_in(const FileTable& file) {
  const auto prefix = file.before("embeddings.class_embedding");
  if (!prefix) return std::nullopt;
  const std::string layer = "linear_1.weight", projector = "multi_modal_projector.";
  const auto before_projector = file.before(projector + layer);
  const bool of_llava = before_projector.has_value();
  const auto names = below(*prefix);
  const FileTable t({.path = file.path(), .rename = names});
  constexpr int64_t kHeadDimH = 80, kHeadDimL = 64;
  auto config = clip_config(t, "CLIPVisionModel", of_llava ? kHeadDimL : kHeadDimH, of_llava);
  const auto patch = t.length("embeddings.patch_embedding.weight", 2);
  const auto patches = t.length("embeddings.position_embedding.weight", 0) - 1;
  config["patch_size"] = patch;
  config["image_size"] = std::lround(std::sqrt(static_cast<double>(patches))) * patch;
  if (!of_llava) return found("image_encoder", "CLIP ViT-H", file, names, std::move(config));
  const auto with_projector = [names, before = *before_projector,
                               projector](const std::string& key) -> std::vector<NamedRows> {
    if (key.starts_with(before + projector)) return {{key.substr(before.size())}};
    auto named = names(key);
    for (auto& rows : named) rows.key = "vision_tower.vision_model." + rows.key;
    return named;
  };
  return found("image_encoder", "the vision tower and projector of LLaVA-LLaMA-3", file, with_projector,
               std::move(config));
}

std::optional<FilePart> llama_in(const FileTable& file) {
  OriginalNames names;
  if (const std::string q = "blk.0.attn_q.weight", k = "blk.0.attn_k.weight"; file.has(q)) {
    names = [heads = file.length(q, 0) / kLlamaHeadDim, kv_heads = file.length(k, 0) / kLlamaHeadDim](
                const std::string& key) { return llama_cpp_llama_names(key, heads, kv_heads); };
  } else {
    const auto prefix = file.before("layers.0.input_layernorm.weight");
    if (!prefix) return std::nullopt;
    names = below(*prefix);
  }
  const FileTable t({.path = file.path(), .rename = names});
  const std::string block = "layers.0.";
  return found("text_encoder", "LLaVA-LLaMA-3", file, names,
               {{"architectures", {"LlamaModel"}},
                {"model_type", "llama"},
                {"hidden_size", t.length("embed_tokens.weight", 1)},
                {"vocab_size", t.length("embed_tokens.weight", 0)},
                {"head_dim", kLlamaHeadDim},
                {"num_attention_heads", t.length(block + "self_attn.q_proj.weight", 0) / kLlamaHeadDim},
                {"num_key_value_heads", t.length(block + "self_attn.k_proj.weight", 0) / kLlamaHeadDim},
                {"intermediate_size", t.length(block + "mlp.gate_proj.weight", 0)},
                {"num_hidden_layers", t.count("layers.")},
                {"rms_norm_eps", 1e-5},
                {"rope_theta", 500000.0},
                {"hidden_act", "silu"}});
}

PartSource llava_of(const PartSource& llama, const PartSource& tower, int64_t image_token) {
  auto text = llama.tensors;
  text.rename = [names = text.rename](const std::string& key) {
    auto named = names(key);
    for (auto& rows : named) rows.key = "language_model.model." + rows.key;
    return named;
  };
  text.others = {tower.tensors};
  return {llama.name,
          JsonFile(llama.config.path(), {{"architectures", {"LlavaForConditionalGeneration"}},
                                         {"image_token_index", image_token},
                                         {"projector_hidden_act", "gelu"},
                                         {"vision_feature_layer", -2},
                                         {"vision_feature_select_strategy", "default"},
                                         {"text_config", llama.config.json()},
                                         {"vision_config", tower.config.json()}}),
          std::move(text)};
}

JsonFile image_processor_of(const PartSource& tower, int64_t image_size) {
  return {tower.config.path(),
          {{"size", {{"shortest_edge", image_size}}}, {"crop_size", {{"height", image_size}, {"width", image_size}}}}};
}

// ---- where a part is ------------------------------------------------------------------------------------------------

FileTable open_table(const std::filesystem::path& file, const std::string& option, const std::string& instead) {
  if (is_pickled(file))
    throw Error(option,
                fmt::format("{}: holds pickled objects, which are not read: take {} instead", file.string(), instead));
  if (std::filesystem::is_directory(file)) return FileTable(find_weight_files(file, PartSource::kDiffusersStem).path);
  return FileTable(file);
}

FilePart find_part(const std::filesystem::path& given, const FileTable& model, const Need& need,
                   const std::function<PartSource(const std::filesystem::path&)>& of_folder) {
  const auto own = need.find(model);
  if (given.empty()) {
    if (own) return *own;
    throw Error(need.option, fmt::format("{}: has no {}: name one by `{}`, such as {}", model.path().string(),
                                         need.what, need.option, need.example));
  }
  if (own)
    throw Error(need.option,
                fmt::format("{}: has its own {}: leave `{}` out", model.path().string(), need.what, need.option));
  if (std::filesystem::is_directory(given)) return {of_folder(given), need.what};
  const auto file = open_table(given, need.option, need.example);
  if (auto part = need.find(file)) return *part;
  throw Error(need.option, fmt::format("{}: holds no {}; such a file is {}", given.string(), need.what, need.example));
}

Need need_of_t5(bool umt5) {
  return {"text_encoder", umt5 ? "UMT5-XXL" : "T5-XXL", umt5 ? "umt5_xxl_fp16.safetensors" : "t5xxl_fp16.safetensors",
          [kind = std::string(umt5 ? "umt5" : "t5")](const FileTable& file) {
            auto found = t5_in(file);
            return found && found->source.config.get<std::string>("model_type") == kind ? found : std::nullopt;
          }};
}

T5Source find_t5(const ModelPaths& paths, const FileTable& model, bool umt5) {
  const auto open = [umt5](const std::filesystem::path& folder) {
    return umt5 ? open_umt5_tokenizer(folder) : open_t5_tokenizer(folder);
  };
  std::optional<std::filesystem::path> folder;  // of the tokenizer
  auto part = find_part(paths.text_encoder, model, need_of_t5(umt5), [&](const std::filesystem::path& dir) {
    const auto folders = T5Folders::find(dir);
    folder = folders.tokenizer;
    return PartSource::of_transformers(folders.encoder, "text_encoder");
  });
  if (!paths.tokenizer.empty()) {
    const auto inner = paths.tokenizer / "tokenizer";
    folder = std::filesystem::is_directory(inner) ? inner : paths.tokenizer;
  }
  if (folder) return {std::move(part.source), [open, dir = *folder] { return open(dir); }};

  const auto path = part.source.tensors.path;
  const FileTable file(path);
  if (auto pieces = pieces_in(file))
    return {std::move(part.source),
            [stored = std::make_shared<text::StoredPieces>(*std::move(pieces)), name = path.string(), umt5] {
              return umt5 ? open_umt5_tokenizer(text::sentencepiece_model(*stored, name), name)
                          : open_t5_tokenizer(text::unigram_parts(*stored, name), name);
            }};
  const auto prefix = umt5 ? file.before(kSentencePiece) : std::nullopt;
  if (!prefix)
    throw Error("tokenizer",
                fmt::format("{}: holds no tokenizer: name one by `tokenizer`, such as the folder \"tokenizer\" of {}",
                            path.string(), umt5 ? "Wan-AI/Wan2.1-T2V-1.3B-Diffusers" : "Lightricks/LTX-Video"));
  return {std::move(part.source), [path, key = *prefix + kSentencePiece] {
            return open_umt5_tokenizer(bytes_of(FileTable(path), key), path.string());
          }};
}

}  // namespace eav
