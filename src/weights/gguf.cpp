// The table of a GGUF file, versions 2 and 3: values by name, then tensors
// with their axes in reverse, then aligned data.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "eav/error.h"
#include "weights/gguf_types.h"
#include "weights/tensor_file.h"

namespace eav {
namespace {

using gguf::ValueType;

constexpr uint32_t kMostAxes = 8;  // ggml has four, converters of video models write five
constexpr uint64_t kMostAlignment = 1 << 20;

// Reads from the beginning of a file on. Nothing is allocated that is not there.
class GgufReader {
 public:
  GgufReader(const std::filesystem::path& path, std::string_view bytes) : path_(path), bytes_(bytes) {}

  size_t position() const { return at_; }
  Error error(const std::string& what) const {
    return Error(fmt::format("{}: is no valid GGUF file: {}", path_.string(), what));
  }

  template <class T>
  T number() {
    T value;
    std::ranges::copy(take(sizeof value), reinterpret_cast<char*>(&value));
    return value;
  }
  std::string text() { return std::string(take(number<uint64_t>())); }

  GgufValue value(const std::string& key) { return value_of(number<uint32_t>(), key); }

 private:
  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_)
      throw error(fmt::format("truncated: its header needs {} bytes from byte {} on, the file has {}", count, at_,
                              bytes_.size()));
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }

  // Of any numeric type; nothing for others.
  std::optional<std::variant<int64_t, uint64_t, double, bool>> numeric(ValueType type) {
    switch (type) {
      case ValueType::uint8:
        return uint64_t{number<uint8_t>()};
      case ValueType::int8:
        return int64_t{number<int8_t>()};
      case ValueType::uint16:
        return uint64_t{number<uint16_t>()};
      case ValueType::int16:
        return int64_t{number<int16_t>()};
      case ValueType::uint32:
        return uint64_t{number<uint32_t>()};
      case ValueType::int32:
        return int64_t{number<int32_t>()};
      case ValueType::float32:
        return double{number<float>()};
      case ValueType::boolean:
        return number<uint8_t>() != 0;
      case ValueType::uint64:
        return number<uint64_t>();
      case ValueType::int64:
        return number<int64_t>();
      case ValueType::float64:
        return number<double>();
      default:
        return std::nullopt;
    }
  }

  GgufValue value_of(uint32_t number_of_type, const std::string& key) {
    const auto type = static_cast<ValueType>(number_of_type);
    if (type == ValueType::string) return text();
    if (type == ValueType::array) return array(key);
    if (const auto value = numeric(type)) return std::visit([](auto v) { return GgufValue(v); }, *value);
    throw error(fmt::format("its value \"{}\" has the unknown type {}", key, number_of_type));
  }

  GgufValue array(const std::string& key) {
    const auto number_of_type = number<uint32_t>();
    const auto type = static_cast<ValueType>(number_of_type);
    const auto count = number<uint64_t>();
    if (type == ValueType::string) {
      std::vector<std::string> texts;
      for (uint64_t i = 0; i < count; ++i) texts.push_back(text());
      return texts;
    }
    const bool floats = type == ValueType::float32 || type == ValueType::float64;
    std::vector<int64_t> whole;
    std::vector<double> real;
    for (uint64_t i = 0; i < count; ++i) {
      const auto value = numeric(type);
      if (!value) throw error(fmt::format("its list \"{}\" is of the unknown type {}", key, number_of_type));
      std::visit(
          [&](auto v) { floats ? real.push_back(static_cast<double>(v)) : whole.push_back(static_cast<int64_t>(v)); },
          *value);
    }
    if (floats) return real;
    return whole;
  }

  const std::filesystem::path& path_;
  std::string_view bytes_;
  size_t at_ = 0;
};

std::optional<uint64_t> whole_number(const std::map<std::string, GgufValue>& values, const std::string& key) {
  const auto found = values.find(key);
  if (found == values.end()) return std::nullopt;
  if (const auto* value = std::get_if<uint64_t>(&found->second)) return *value;
  if (const auto* value = std::get_if<int64_t>(&found->second); value && *value >= 0)
    return static_cast<uint64_t>(*value);
  return std::nullopt;
}

// The product of the lengths; nothing where it is no number that a file could have.
std::optional<int64_t> product(const std::vector<int64_t>& lengths) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 256;  // so that bytes are a number too
  int64_t most = 1;
  bool empty = false;
  for (const auto n : lengths) {
    if (n < 0 || (n > 0 && most > kMost / n)) return std::nullopt;
    most *= std::max<int64_t>(n, 1);
    empty = empty || n == 0;
  }
  return empty ? 0 : most;
}

TensorEntry read_entry(GgufReader& reader, const std::string& key) {
  const auto bad = [&](const std::string& what) { return reader.error(fmt::format("tensor \"{}\" {}", key, what)); };
  const auto axes = reader.number<uint32_t>();
  if (axes > kMostAxes) throw bad(fmt::format("has {} axes, more than the {} that are read", axes, kMostAxes));
  TensorEntry entry{};
  for (uint32_t i = 0; i < axes; ++i) entry.shape.push_back(reader.number<int64_t>());
  const auto number = reader.number<uint32_t>();
  const auto type = std::ranges::find(gguf::kTypes, number, &gguf::TensorType::number);
  if (type == gguf::kTypes.end())
    throw bad(fmt::format(
        "is stored in the type number {}, which is not read: take a file in F16, BF16, Q8_0, Q4_0 to Q6_K or IQ4",
        number));
  entry.dtype = type->dtype;
  entry.blocks = type->blocks;
  const auto row = entry.shape.empty() ? 1 : entry.shape.front();  // the fastest axis comes first
  std::ranges::reverse(entry.shape);
  const auto elements = product(entry.shape);
  if (!elements) throw bad("has an impossible shape");
  const auto offset = reader.number<uint64_t>();
  auto bytes = *elements * static_cast<int64_t>(c10::elementSize(entry.dtype));
  if (entry.blocks) {
    const auto& layout = layout_of(*entry.blocks);
    if (row % layout.elements != 0)
      throw bad(
          fmt::format("has rows of {} elements, which {} packs in blocks of {}", row, layout.name, layout.elements));
    bytes = *elements / layout.elements * layout.bytes;
  }
  entry.begin = offset;
  entry.end = static_cast<size_t>(bytes);  // the length, until its place is known
  return entry;
}

}  // namespace

TensorTable read_gguf_table(const std::filesystem::path& path, std::string_view bytes) {
  GgufReader reader(path, bytes);
  if (!bytes.starts_with(gguf::kMagic)) throw reader.error("it does not begin with \"GGUF\"");
  reader.number<uint32_t>();
  const auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3)
    throw reader.error((version & 0xFFFF) == 0 ? "it is for machines of the other byte order"
                                               : fmt::format("it is of version {}, expected 2 or 3", version));
  const auto tensors = reader.number<uint64_t>(), values = reader.number<uint64_t>();

  TensorTable table;
  for (uint64_t i = 0; i < values; ++i) {
    const auto key = reader.text();
    auto value = reader.value(key);
    if (const auto* text = std::get_if<std::string>(&value)) table.metadata[key] = *text;
    if (!table.values.emplace(key, std::move(value)).second)
      throw reader.error(fmt::format("it has two values \"{}\"", key));
  }
  if (const auto files = whole_number(table.values, "split.count"); files.value_or(1) > 1)
    throw Error(fmt::format("{}: is one of {} files of a whole: join them with llama-gguf-split --merge", path.string(),
                            *files));
  const auto alignment = table.values.contains("general.alignment")
                             ? whole_number(table.values, "general.alignment").value_or(0)
                             : gguf::kDefaultAlignment;
  if (!std::has_single_bit(alignment) || alignment > kMostAlignment)
    throw reader.error(
        fmt::format("its alignment is {}, expected a power of two of at most {}", alignment, kMostAlignment));

  for (uint64_t i = 0; i < tensors; ++i) {
    const auto key = reader.text();
    auto entry = read_entry(reader, key);
    if (!table.entries.emplace(key, std::move(entry)).second)
      throw reader.error(fmt::format("it has two tensors \"{}\"", key));
  }

  const auto data_begin = (reader.position() + alignment - 1) / alignment * alignment;
  std::vector<std::pair<size_t, size_t>> spans;
  for (auto& [key, entry] : table.entries) {
    const auto bad = [&, name = key](const std::string& what) {
      return reader.error(fmt::format("tensor \"{}\" {}", name, what));
    };
    const auto offset = entry.begin, length = entry.end;
    if (offset % alignment != 0) throw bad(fmt::format("lies at byte {} of the data, which is not aligned", offset));
    const auto held = bytes.size() - std::min(data_begin, bytes.size());
    if (offset > held || length > held - offset)
      throw bad(fmt::format("takes {} bytes from byte {} on, outside the file's {} bytes of data (truncated?)", length,
                            offset, held));
    entry.begin = std::min(data_begin, bytes.size()) + offset;
    entry.end = entry.begin + length;
    if (length > 0) spans.emplace_back(entry.begin, entry.end);
    if (const auto original = table.values.find(std::string(gguf::kOriginalShape) + key);
        original != table.values.end()) {
      const auto* shape = std::get_if<std::vector<int64_t>>(&original->second);
      if (shape == nullptr || product(*shape) != entry.numel())
        throw bad(fmt::format("has other elements than \"{}\" says", original->first));
      entry.shape = *shape;
    }
  }
  std::ranges::sort(spans);
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i].first < spans[i - 1].second) throw reader.error("two of its tensors overlap");
  return table;
}

}  // namespace eav
