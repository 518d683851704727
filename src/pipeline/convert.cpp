#include "eav/convert.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "kernels/quantize.h"
#include "models/family.h"
#include "pipeline/model_path.h"
#include "pipeline/registry.h"
#include "text/encoder_files.h"
#include "text/llava.h"
#include "text/original_names.h"
#include "weights/quantised_keys.h"
#include "weights/tensor_writer.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kElementsAtATime = 16 << 20;  // in memory, of larger tensors
constexpr int64_t kSmall = 1024;                // elements of tensors that are not worth fewer bits
constexpr int64_t kFloat8Axes = 2;              // of the tensors that become float8
constexpr int64_t kConvolutionAxes = 5;
constexpr const char* kCopyOfEmbedding = "encoder.embed_tokens.weight";  // T5's "shared.weight" once more
constexpr const char* kUmt5 = "UMT5EncoderModel";
constexpr const char* kConfig = "config";  // what LTX-Video's files tell of the model, in their metadata

struct ConversionType {
  const char* name;
  std::optional<Packing> packing;
};
constexpr std::array kConversionTypes{
    ConversionType{"bfloat16", {}},
    ConversionType{"fp8", Packing::float8_e4m3},
    ConversionType{"q8_0", Packing::q8_0},
    ConversionType{"q4_k", Packing::q4_k},
};

// How parts of a kind are written, so that the programs that people have read them.
struct Form {
  std::string kind;      // the class in the configuration
  std::string part{};    // in the name of the file; empty: the part's own
  std::string below{};   // the part's keys below this go there, without it, where it has any; others stay behind
  std::string before{};  // what they begin with in a file of their own
  std::string in_one{};  // and in one file with all parts, as ComfyUI has it; empty: no program does that
  std::string gguf{};    // general.architecture; empty: no program reads such a part of a GGUF file
  const KeyTable* llama_cpp = nullptr;  // names in a GGUF file of its own, in place of these
};

std::vector<Form> forms_of(const PartFiles& part) {
  const auto *t5 = &llama_cpp_t5_table(), *llama = &llama_cpp_llama_table();
  const std::string encoders = "text_encoders.", vision = "clip_vision.",
                    of_llama = encoders + "llama.transformer.model.";
  const auto kind = part.describe().kind;
  std::vector<Form> forms{
      {.kind = "WanTransformer3DModel", .in_one = "model.diffusion_model.", .gguf = "wan"},
      {.kind = "HunyuanVideoTransformer3DModel", .in_one = "model.diffusion_model.", .gguf = "hyvid"},
      {.kind = "LTXVideoTransformer3DModel", .in_one = "model.diffusion_model.", .gguf = "ltxv"},
      {.kind = "AutoencoderKLWan", .in_one = "vae."},
      {.kind = "AutoencoderKLHunyuanVideo", .in_one = "vae."},
      {.kind = "AutoencoderKLLTXVideo", .in_one = "vae."},
      {.kind = kUmt5, .in_one = encoders + "umt5xxl.transformer.", .gguf = "t5encoder", .llama_cpp = t5},
      {.kind = "T5EncoderModel", .in_one = encoders + "t5xxl.transformer.", .gguf = "t5encoder", .llama_cpp = t5},
      {.kind = "LlamaModel", .before = "model.", .in_one = of_llama, .gguf = "llama", .llama_cpp = llama},
      {.kind = "LlamaForCausalLM",
       .below = "model.",
       .before = "model.",
       .in_one = of_llama,
       .gguf = "llama",
       .llama_cpp = llama},
      {.kind = "CLIPTextModel",
       .below = "text_model.",
       .before = "text_model.",
       .in_one = encoders + "clip_l.transformer.text_model."},
      {.kind = "CLIPVisionModel",
       .below = "vision_model.",
       .before = "vision_model.",
       .in_one = vision + "vision_model."},
  };
  if (kind == "LlavaForConditionalGeneration") {
    const LlavaEncoder::Prefixes own(part.tensors());
    const std::string encoder = "image_encoder", tower = "vision_model.", projector = "multi_modal_projector.";
    return {{kind, "", own.language_model, "model.", of_llama, "llama", llama},
            {kind, encoder, own.vision_tower, tower, vision + tower},
            {kind, encoder, own.multi_modal_projector, projector, vision + projector}};
  }
  std::erase_if(forms, [&](const Form& form) { return !kind.starts_with(form.kind); });
  if (forms.empty()) forms.push_back({.kind = kind, .gguf = kind});
  return forms;
}

bool stays_float32(const std::string& key, const std::vector<int64_t>& shape) {
  const auto lengths = std::ranges::count_if(shape, [](int64_t n) { return n > 1; });
  return lengths < 2 || c10::multiply_integers(shape) <= kSmall || key.ends_with("scale_shift_table") ||
         key.ends_with("modulation");
}

// The type that a tensor is written in; its place in the file is found later.
TensorEntry written_as(const std::string& key, const TensorEntry& stored, std::optional<Packing> packing) {
  TensorEntry entry{.dtype = at::kFloat, .shape = stored.shape, .begin = 0, .end = 0};
  if (stays_float32(key, stored.shape)) return entry;
  const auto fits = [&](Packing p) { return stored.shape.back() % layout_of(p).elements == 0; };
  if (packing == Packing::float8_e4m3 && stored.shape.size() == kFloat8Axes) {
    entry.dtype = at::kFloat8_e4m3fn;
    return entry;
  }
  if (packing == Packing::q4_k && !fits(Packing::q4_k)) packing = Packing::q8_0;
  if (packing && packing != Packing::float8_e4m3 && fits(*packing)) {
    entry.dtype = at::kByte;
    entry.blocks = packing;
    return entry;
  }
  entry.dtype = packing && stored.dtype == at::kHalf ? at::kHalf : at::kBFloat16;
  return entry;
}

// Numbers [rows, columns] in float32 as the bytes of a type.
Tensor bytes_of(const Tensor& numbers, const TensorEntry& as) {
  const auto packing = as.packing();
  if (!packing) return numbers.to(as.dtype).flatten().view(at::kByte);
  const auto& layout = layout_of(*packing);
  const auto blocks = numbers.numel() / layout.elements;
  const auto bytes = at::empty({blocks * layout.bytes}, at::kByte);
  const auto* from = numbers.const_data_ptr<float>();
  auto* to = bytes.mutable_data_ptr<uint8_t>();
  constexpr int64_t kLeast = 4096;  // elements that are worth a thread
  at::parallel_for(0, blocks, kLeast / layout.elements, [&](int64_t begin, int64_t end) {
    quantize(*packing, from + begin * layout.elements, end - begin, to + begin * layout.bytes);
  });
  return bytes;
}

// Rows of one of the model's tensors.
struct Rows {
  std::string key;
  int64_t first, count;
  int64_t heads = 0;  // whose two halves are written in pairs
};

// Hands their numbers to `use` in float32, some at a time.
template <class Use>
void each_of(const Rows& rows, const Checkpoint& checkpoint, const Use& use) {
  const auto& [number, entry] = checkpoint.index().at(rows.key);
  const auto& file = checkpoint.files()[number];
  if (entry.numel() <= kElementsAtATime || checkpoint.reorders(rows.key) || rows.heads > 0) {
    auto numbers = checkpoint.load(rows.key).to(at::kFloat);
    if (numbers.dim() > 0) numbers = numbers.narrow(0, rows.first, rows.count);
    if (rows.heads > 0) numbers = numbers.unflatten(0, {rows.heads, 2, -1}).transpose(1, 2).flatten(0, 2);
    use(numbers.contiguous());
  } else {
    const auto at_a_time = std::max<int64_t>(kElementsAtATime / (entry.numel() / entry.shape[0]), 1);
    const auto packed = checkpoint.load_packed(rows.key, {});
    for (int64_t done = 0; done < rows.count; done += at_a_time) {
      const auto first = rows.first + done, count = std::min(at_a_time, rows.count - done);
      use(packed ? dequantized(packed->row_slice(first, count), at::kFloat)
                 : file.view(entry.row_slice(first, count), TensorFile::Use::copying).to(at::kFloat).contiguous());
      file.forget(entry.row_slice(first, count));
    }
  }
  file.forget(entry);
}

// Whether a key holds numbers of the model, and not how others are stored.
bool is_written(const std::string& key, const TensorEntry& entry) {
  const bool numbers = at::isFloatingType(entry.dtype) || entry.packing() || entry.dtype == at::kChar;
  return numbers && !key.ends_with(kScaledMarker) &&
         std::ranges::none_of(kQuantisedBy, [&](const char* end) { return key.ends_with(end); });
}

// A tensor of a file that is written, and of which rows of the part's it is made, in order: {{first row, rows}, …}.
struct Written {
  std::map<int64_t, Rows> rows;
  bool matrix = false;  // a convolution of one position there
};

// The file that holds a part, or all.
struct OutgoingFile {
  std::string part;
  std::vector<OutgoingTensor> tensors;
  std::string architecture;
  Metadata metadata;
};

// What other programs call the part's tensors of a form.
std::map<std::string, Written> written_tensors(const PartFiles& part, const Form& form, bool gguf, bool in_one) {
  const auto& index = part.tensors().index();
  const auto first_below = index.lower_bound(form.below);
  const bool split = first_below != index.end() && first_below->first.starts_with(form.below);
  const auto below = split ? form.below : std::string();
  const bool llama_cpp = gguf && !in_one && form.llama_cpp != nullptr;
  const auto* table = llama_cpp ? form.llama_cpp : part.keys().original;
  const auto before = in_one ? form.in_one : llama_cpp ? std::string() : form.before;
  std::map<std::string, Written> tensors;
  for (const auto& [key, place] : index) {
    if (!key.starts_with(below) || !is_written(key, place.second) || key == kCopyOfEmbedding) continue;
    const auto ours = key.substr(below.size());
    auto names = table == nullptr ? std::vector<NamedRows>() : find_original(*table, ours, part.keys().channels);
    if (names.empty() && llama_cpp) continue;  // such as a LLaMA's head, which encodes no prompts
    if (names.empty()) names.push_back({.key = ours});
    for (const auto& name : names) {
      const auto rows = place.second.shape.empty() ? 1 : place.second.shape[0];
      auto& written = tensors[before + name.key];
      written.matrix = name.matrix;
      written.rows.emplace(name.begin, Rows{key, name.at, name.end ? *name.end - name.begin : rows - name.at,
                                            llama_cpp && llama_cpp_pairs(ours) ? rows / kLlamaHeadDim : 0});
    }
  }
  return tensors;
}

void add_tensors(OutgoingFile& file, const PartFiles& part, const std::map<std::string, Written>& tensors,
                 std::optional<Packing> packing, Progress& progress) {
  const auto& checkpoint = part.tensors();
  for (const auto& [key, written] : tensors) {
    const auto& rows = written.rows;
    const auto& first = rows.begin()->second.key;
    auto stored = checkpoint.index().at(first).second;
    int64_t count = 0;
    for (const auto& [at, piece] : rows) {
      if (at != count) throw Error(fmt::format("the rows of \"{}\" before row {} are missing", key, at));
      count += piece.count;
    }
    if (!stored.shape.empty()) stored.shape[0] = count;
    if (written.matrix) stored.shape.resize(kConvolutionAxes, 1);
    const auto as = written_as(first, stored, packing);
    file.tensors.push_back({key, as, [&checkpoint, &progress, rows, as](const OutgoingTensor::Sink& write) {
                              progress.check();
                              for (const auto& [at, piece] : rows)
                                each_of(piece, checkpoint, [&](const Tensor& numbers) {
                                  const auto bytes = bytes_of(numbers, as);
                                  write({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
                                });
                            }});
  }
}

// The tokenizer of a T5, beside whose weights it is read: values in the header of a GGUF file, or of a UMT5 a tensor of
// bytes.
void add_tokenizer(OutgoingFile& file, const PartFiles& encoder, const std::string& kind, const ModelPaths& paths,
                   bool gguf, bool in_one) {
  if (gguf && !in_one) return file.metadata.merge(gguf_tokenizer_of(encoder.files(), paths));
  if (kind != kUmt5) return;
  const auto bytes = spiece_model_of(encoder.files(), paths);
  if (!bytes) return;
  const TensorEntry entry{
      .dtype = gguf ? at::kChar : at::kByte, .shape = {std::ssize(*bytes)}, .begin = 0, .end = bytes->size()};
  file.tensors.push_back({(in_one ? "text_encoders." : "") + std::string(kSentencePiece), entry,
                          [bytes = *bytes](const OutgoingTensor::Sink& write) { write(bytes); }});
}

// The files that a model is written to.
std::map<fs::path, OutgoingFile> outgoing_files(const Conversion& conversion, const std::vector<PartFiles*>& parts,
                                                std::optional<Packing> packing, Progress& progress) {
  const auto& out = conversion.out;
  std::map<fs::path, OutgoingFile> files;
  for (const auto* part : parts)
    for (const auto& form : forms_of(*part)) {
      const auto name = form.part.empty() ? part->name() : form.part;
      const bool alone = !conversion.one_file, gguf = out.extension() == ".gguf" && (!alone || !form.gguf.empty());
      if (!alone && form.in_one.empty())
        throw Error(fmt::format("no program reads {} together with the other parts: leave --one-file out", form.kind));
      const auto path =
          alone ? out.parent_path() / fmt::format("{}-{}{}", out.stem().string(), name, gguf ? ".gguf" : ".safetensors")
                : out;
      auto& file = files[path];
      file.part = alone ? name : "all parts";
      if (!form.gguf.empty() && (alone || form.llama_cpp == nullptr)) file.architecture = form.gguf;
      const auto tensors = written_tensors(*part, form, gguf, !alone);
      const auto taken = [&](const OutgoingTensor& t) { return tensors.contains(t.key); };
      if (std::ranges::any_of(file.tensors, taken))
        throw Error(fmt::format("{} and another part have tensors of the same names: leave --one-file out", name));
      const bool blocks = packing && layout_of(*packing).elements > 1;
      add_tensors(file, *part, tensors, blocks && !gguf ? std::nullopt : packing, progress);
      if (form.kind.ends_with("T5EncoderModel")) add_tokenizer(file, *part, form.kind, conversion.paths, gguf, !alone);
      if (const auto& own = part->tensors().metadata(); own.contains(kConfig)) file.metadata[kConfig] = own.at(kConfig);
    }
  return files;
}

}  // namespace

std::vector<std::string> conversion_types() {
  std::vector<std::string> names;
  for (const auto& type : kConversionTypes) names.emplace_back(type.name);
  return names;
}

std::vector<ConvertedFile> convert(const Conversion& conversion, Progress& progress) {
  const c10::InferenceMode no_autograd;
  const auto type =
      std::ranges::find(kConversionTypes, conversion.type, [](const auto& t) { return std::string_view(t.name); });
  if (type == kConversionTypes.end())
    throw Error(
        fmt::format("the type \"{}\" is unknown: choose {}", conversion.type, fmt::join(conversion_types(), ", ")));
  const auto& out = conversion.out;
  const auto suffix = out.extension();
  if (suffix != ".gguf" && suffix != ".safetensors")
    throw Error(fmt::format("cannot tell what to write from '{}': end it in .gguf or .safetensors", out.string()));
  const bool blocks = type->packing && layout_of(*type->packing).elements > 1;
  if (blocks && suffix != ".gguf")
    throw Error(fmt::format("{}: only a .gguf file can hold {}", out.string(), type->name));
  if (type->packing == Packing::float8_e4m3 && suffix == ".gguf")
    throw Error(fmt::format("{}: a .gguf file cannot hold {}: end it in .safetensors", out.string(), type->name));

  auto resolved = conversion;
  resolved.paths = resolve(conversion.paths);
  const auto family = open_family(resolved.paths);
  std::vector<PartFiles*> parts;
  std::set<std::string> names;
  for (const auto phase : kPhases)
    for (auto* part : family->parts(phase))
      if (names.insert(part->name()).second) parts.push_back(part);
  auto files = outgoing_files(resolved, parts, type->packing, progress);
  for (const auto& [path, file] : files) {
    check_takes_files(target_of(path).parent_path(), path);
    if (!conversion.overwrite && fs::exists(path)) throw Error(fmt::format("'{}' exists", path.string()));
  }

  std::vector<ConvertedFile> written;
  for (auto& [path, file] : files) {
    progress.phase(file.part);
    write_tensors(path, std::move(file.tensors), file.architecture, file.metadata)
        .finish(conversion.overwrite ? Existing::replace : Existing::refuse);
    written.push_back({file.part, path, static_cast<int64_t>(fs::file_size(path))});
  }
  return written;
}

}  // namespace eav
