#include "weights/tensor_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "eav/error.h"
#include "weights/gguf_types.h"
#include "weights/safetensors_types.h"

namespace eav {
namespace {

// Appends numbers and texts as GGUF has them.
class GgufHeader {
 public:
  std::string bytes = std::string(gguf::kMagic);

  template <class T>
  void add(T number) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  void add(const std::string& text) {
    add(uint64_t{text.size()});
    bytes += text;
  }
  void add_value(const std::string& key, const GgufValue& value) {
    add(key);
    std::visit([&](const auto& of) { add_typed(of); }, value);
  }

 private:
  using Type = gguf::ValueType;
  static Type type_of(const std::string&) { return Type::string; }
  static Type type_of(bool) { return Type::boolean; }
  static Type type_of(double) { return Type::float32; }
  static Type type_of(int64_t) { return Type::int32; }
  static Type type_of(uint64_t) { return Type::uint32; }
  void add_plain(const std::string& text) { add(text); }
  void add_plain(bool flag) { add(static_cast<uint8_t>(flag ? 1 : 0)); }
  void add_plain(double number) { add(static_cast<float>(number)); }
  void add_plain(int64_t number) { add(static_cast<int32_t>(number)); }
  void add_plain(uint64_t number) { add(static_cast<uint32_t>(number)); }
  template <class T>
  void add_typed(const T& value) {
    add(type_of(value));
    add_plain(value);
  }
  template <class T>
  void add_typed(const std::vector<T>& list) {
    add(Type::array);
    add(type_of(T()));
    add(uint64_t{list.size()});
    for (const auto& value : list) add_plain(value);
  }
};

constexpr uint64_t padded(uint64_t size, uint64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

uint64_t bytes_of(const TensorEntry& entry) {
  if (entry.blocks)
    return static_cast<uint64_t>(entry.numel() / layout_of(*entry.blocks).elements * layout_of(*entry.blocks).bytes);
  return static_cast<uint64_t>(entry.numel()) * c10::elementSize(entry.dtype);
}

// Every tensor gets its place, counted from the beginning of the data; returns the header.
std::string gguf_header(const std::filesystem::path& out, std::vector<OutgoingTensor>& tensors,
                        const std::string& architecture, const Metadata& metadata) {
  constexpr size_t kMostAxes = 4;  // of ggml
  const auto is_folded = [](const OutgoingTensor& t) { return t.entry.shape.size() > kMostAxes; };
  GgufHeader header;
  header.add(gguf::kVersion);
  header.add(uint64_t{tensors.size()});
  header.add(uint64_t{2 + metadata.size() + static_cast<uint64_t>(std::ranges::count_if(tensors, is_folded))});
  header.add_value("general.architecture", architecture);
  header.add_value("general.quantization_version", uint64_t{2});
  for (const auto& [key, value] : metadata) header.add_value(key, value);
  for (const auto& tensor : tensors)
    if (is_folded(tensor)) header.add_value(std::string(gguf::kOriginalShape) + tensor.key, tensor.entry.shape);
  uint64_t at = 0;
  for (auto& [key, entry, bytes] : tensors) {
    const auto type = std::ranges::find_if(gguf::kTypes, [&, &e = entry](const gguf::TensorType& t) {
      return t.dtype == e.dtype && t.blocks == e.blocks;
    });
    if (type == gguf::kTypes.end())
      throw Error(
          fmt::format("{}: a GGUF file cannot hold {}: write a .safetensors file", out.string(), entry.type_name()));
    auto axes = entry.shape.empty() ? std::vector<int64_t>{1} : entry.shape;
    while (axes.size() > kMostAxes) {
      axes[1] *= axes[0];
      axes.erase(axes.begin());
    }
    header.add(key);
    header.add(static_cast<uint32_t>(axes.size()));
    for (auto n = axes.rbegin(); n != axes.rend(); ++n) header.add(*n);
    header.add(type->number);
    header.add(at);
    entry.begin = at;
    entry.end = at + bytes_of(entry);
    at = padded(entry.end, gguf::kDefaultAlignment);
  }
  header.bytes.resize(padded(header.bytes.size(), gguf::kDefaultAlignment));
  return std::move(header.bytes);
}

std::string safetensors_header(const std::filesystem::path& out, std::vector<OutgoingTensor>& tensors,
                               const Metadata& metadata) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& [key, value] : metadata)
    if (const auto* text = std::get_if<std::string>(&value)) json["__metadata__"][key] = *text;
  uint64_t at = 0;
  for (auto& [key, entry, bytes] : tensors) {
    if (entry.blocks)
      throw Error(
          fmt::format("{}: a .safetensors file cannot hold {}: write a .gguf file", out.string(), entry.type_name()));
    entry.begin = at;
    entry.end = at += bytes_of(entry);
    json[key] = {
        {"dtype", name_of_dtype(entry.dtype)}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  auto text = json.dump();
  text.append(padded(sizeof(uint64_t) + text.size(), c10::gAlignment) - sizeof(uint64_t) - text.size(), ' ');
  const uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + text;
}

}  // namespace

Temporary write_tensors(const std::filesystem::path& out, std::vector<OutgoingTensor> tensors,
                        const std::string& architecture, const Metadata& metadata) {
  const auto header = out.extension() == ".gguf" ? gguf_header(out, tensors, architecture, metadata)
                                                 : safetensors_header(out, tensors, metadata);
  auto part = Temporary::file(out);
  const auto close = [](std::FILE* file) { return std::fclose(file); };
  std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(part.path().c_str(), "wb"), close);
  const auto failed = [&] {
    return Error(fmt::format("{}: cannot be written: {}", out.string(), std::strerror(errno)));
  };
  if (!file) throw failed();
  uint64_t at = 0;
  const auto write = [&](std::string_view bytes) {
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) throw failed();
    at += bytes.size();
  };
  write(header);
  at = 0;
  for (const auto& tensor : tensors) {
    write(std::string(tensor.entry.begin - at, '\0'));
    tensor.bytes(write);
    if (at != tensor.entry.end) throw Error(fmt::format("internal: \"{}\" has other bytes than its shape", tensor.key));
  }
  if (std::fclose(file.release()) != 0) throw failed();
  return part;
}

}  // namespace eav
