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
#include "weights/quantised_keys.h"
#include "weights/tensor_writer.h"
#include "weights/written_names.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kElementsAtATime = 16 << 20;  // in memory, of larger tensors
constexpr int64_t kSmall = 1024;                // elements of tensors that are not worth fewer bits
constexpr int64_t kFloat8Axes = 2;              // of the tensors that become float8

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

// As programs that read GGUF files call a model.
std::string architecture_of(const std::string& kind) {
  static constexpr std::array<std::pair<std::string_view, const char*>, 7> kNames{{
      {"WanTransformer3DModel", "wan"},
      {"HunyuanVideoTransformer3DModel", "hyvid"},
      {"LTXVideoTransformer3DModel", "ltxv"},
      {"T5EncoderModel", "t5encoder"},
      {"UMT5EncoderModel", "t5encoder"},
      {"LlamaModel", "llama"},
      {"LlamaForCausalLM", "llama"},
  }};
  const auto found = std::ranges::find(kNames, kind, [](const auto& name) { return name.first; });
  return found == kNames.end() ? kind : found->second;
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
  if (!packing) return numbers.to(as.dtype).contiguous().view(at::kByte);
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
};

// Hands their numbers to `use` in float32, some at a time.
template <class Use>
void each_of(const Rows& rows, const Checkpoint& checkpoint, const Use& use) {
  const auto& [number, entry] = checkpoint.index().at(rows.key);
  const auto& file = checkpoint.files()[number];
  if (entry.numel() <= kElementsAtATime || checkpoint.reorders(rows.key)) {
    use(checkpoint.load(rows.key).to(at::kFloat).narrow(0, rows.first, rows.count).contiguous());
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
  return numbers && !entry.shape.empty() && !key.ends_with(kScaledMarker) &&
         std::ranges::none_of(kQuantisedBy, [&](const char* end) { return key.ends_with(end); });
}

// What the part's own programs call its tensors, and of which of ours they are made, in order: {{first row, rows}, …}.
std::map<std::string, std::map<int64_t, Rows>> original_tensors(const PartFiles& part) {
  std::map<std::string, std::map<int64_t, Rows>> tensors;
  for (const auto& [key, place] : part.tensors().index()) {
    if (!is_written(key, place.second)) continue;
    const auto* table = part.keys().original;
    auto names = table == nullptr ? std::vector<NamedRows>() : find_original(*table, key, part.keys().channels);
    if (names.empty()) names.push_back({.key = key});
    for (const auto& name : names) {
      const auto count = name.end ? *name.end - name.begin : place.second.shape[0] - name.at;
      tensors[name.key].emplace(name.begin, Rows{key, name.at, count});
    }
  }
  return tensors;
}

std::vector<OutgoingTensor> outgoing(const PartFiles& part, std::optional<Packing> packing, Progress& progress) {
  std::vector<OutgoingTensor> tensors;
  const auto& checkpoint = part.tensors();
  for (const auto& [key, pieces] : original_tensors(part)) {
    auto stored = checkpoint.index().at(pieces.begin()->second.key).second;
    stored.shape[0] = 0;
    for (const auto& [at, rows] : pieces) {
      if (at != stored.shape[0]) throw Error(fmt::format("the rows of \"{}\" before row {} are missing", key, at));
      stored.shape[0] += rows.count;
    }
    const auto as = written_as(pieces.begin()->second.key, stored, packing);
    tensors.push_back({key, as, [&checkpoint, &progress, pieces = pieces, as](const OutgoingTensor::Sink& write) {
                         progress.check();
                         for (const auto& [at, rows] : pieces)
                           each_of(rows, checkpoint, [&](const Tensor& numbers) {
                             const auto bytes = bytes_of(numbers, as);
                             write({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
                           });
                       }});
  }
  return tensors;
}

fs::path file_of(const fs::path& out, const std::string& part) {
  return out.parent_path() / fmt::format("{}-{}{}", out.stem().string(), part, out.extension().string());
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

  const auto paths = resolve(conversion.paths);
  const auto family = open_family(paths);
  std::vector<PartFiles*> parts;
  std::set<std::string> names;
  for (const auto phase : kPhases)
    for (auto* part : family->parts(phase))
      if (names.insert(part->name()).second) parts.push_back(part);
  for (const auto* part : parts) {
    const auto file = file_of(out, part->name());
    check_takes_files(target_of(file).parent_path(), file);
    if (!conversion.overwrite && fs::exists(file)) throw Error(fmt::format("'{}' exists", file.string()));
  }

  std::vector<ConvertedFile> written;
  for (auto* part : parts) {
    progress.phase(part->name());
    const auto file = file_of(out, part->name());
    write_tensors(file, outgoing(*part, type->packing, progress), architecture_of(part->describe().kind), {})
        .finish(conversion.overwrite ? Existing::replace : Existing::refuse);
    written.push_back({part->name(), file, static_cast<int64_t>(fs::file_size(file))});
  }
  return written;
}

}  // namespace eav
