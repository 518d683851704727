#include "weights/safetensors.h"

#include <c10/core/alignment.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "eav/error.h"
#include "eav/files.h"
#include "weights/safetensors_types.h"

namespace eav {
namespace {

// The largest header that the format's own library accepts.
constexpr uint64_t kMaxHeader = 100'000'000;

}  // namespace

TensorTable read_safetensors_table(const std::filesystem::path& path, std::string_view bytes) {
  const auto fail = [&](const std::string& what) {
    return Error(fmt::format("{}: is no valid safetensors file: {}", path.string(), what));
  };
  TensorTable table;
  uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) throw fail("it is shorter than its header's length field");
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > kMaxHeader) throw fail(fmt::format("its header claims {} bytes, more than allowed", header_size));
  const size_t data_begin = sizeof header_size + header_size;
  if (data_begin > bytes.size())
    throw fail(fmt::format("truncated: its header takes {} bytes, the file has {}", data_begin, bytes.size()));

  const auto header = parse_json(bytes.substr(sizeof header_size, header_size));
  if (!header.is_object()) throw fail("its header is no JSON object");

  std::vector<std::pair<std::array<uint64_t, 2>, std::string>> spans;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) throw fail("__metadata__ is no JSON object");
      for (const auto& [name, entry] : value.items())
        if (entry.is_string()) table.metadata[name] = entry.get<std::string>();
      continue;
    }
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): a captured structured binding is taken for uninitialized
    const auto bad = [&](const std::string& what) { return fail(fmt::format("tensor \"{}\" {}", key, what)); };
    const auto is_lengths = [](const nlohmann::json& list) {
      return list.is_array() &&
             std::all_of(list.begin(), list.end(), [](const auto& n) { return n.is_number_unsigned(); });
    };
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
        !is_lengths(value["shape"]) || !value.contains("data_offsets") || !is_lengths(value["data_offsets"]) ||
        value["data_offsets"].size() != 2)
      throw bad("has no proper dtype, shape and data_offsets");

    const auto name = value["dtype"].get<std::string>();
    const auto dtype = std::ranges::find(kSafetensorsTypes, name, &SafetensorsType::name);
    if (dtype == kSafetensorsTypes.end()) throw bad(fmt::format("has the unknown dtype {}", name));

    uint64_t size = c10::elementSize(dtype->dtype), most = size;  // `most`: if no length were 0
    std::vector<int64_t> shape;
    for (const auto& length : value["shape"]) {
      const auto n = length.get<uint64_t>();
      if (n > 0 && most > std::numeric_limits<int64_t>::max() / n) throw bad("has an impossible shape");
      most *= std::max<uint64_t>(n, 1);
      size *= n;
      shape.push_back(static_cast<int64_t>(n));
    }
    const std::array<uint64_t, 2> span{value["data_offsets"][0].get<uint64_t>(),
                                       value["data_offsets"][1].get<uint64_t>()};
    if (span[0] > span[1] || span[1] > bytes.size() - data_begin)
      throw bad(fmt::format("lies at bytes {} to {}, outside the file's {} bytes of data (truncated?)", span[0],
                            span[1], bytes.size() - data_begin));
    if (span[1] - span[0] != size)
      throw bad(fmt::format("has {} bytes where its shape needs {}", span[1] - span[0], size));
    table.entries[key] = {dtype->dtype, std::move(shape), data_begin + span[0], data_begin + span[1]};
    spans.emplace_back(span, key);
  }

  std::sort(spans.begin(), spans.end());
  uint64_t end = 0;
  for (const auto& [span, key] : spans) {
    if (span[0] < end) throw fail(fmt::format("tensor \"{}\" overlaps the one before it", key));
    if (span[0] > end) throw fail(fmt::format("there is a hole of {} bytes before tensor \"{}\"", span[0] - end, key));
    end = span[1];
  }
  if (end != bytes.size() - data_begin)
    throw fail(fmt::format("it has {} bytes of data where its header describes {}", bytes.size() - data_begin, end));
  return table;
}

Temporary prepare_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::vector<Tensor> data;
  size_t offset = 0;
  for (const auto& [key, tensor] : tensors) {
    data.push_back(tensor.to(at::kCPU).contiguous());
    const auto* dtype = name_of_dtype(tensor.scalar_type());
    if (dtype == nullptr) throw Error(fmt::format("{}: cannot save the type of \"{}\"", path.string(), key));
    const size_t bytes = data.back().nbytes();
    header[key] = {{"dtype", dtype}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  const size_t unpadded = sizeof(uint64_t) + text.size();
  text.append((c10::gAlignment - unpadded % c10::gAlignment) % c10::gAlignment, ' ');  // data starts aligned
  const uint64_t size = text.size();

  const auto bytes = [](const void* begin, size_t count) {
    return std::string_view(static_cast<const char*>(begin), count);
  };
  std::vector<std::string_view> parts{bytes(&size, sizeof size), text};
  for (const auto& tensor : data) parts.push_back(bytes(tensor.const_data_ptr(), tensor.nbytes()));
  return prepare_file(path, parts);
}

void save_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  prepare_safetensors(path, tensors, metadata).finish();
}

std::map<std::string, Tensor> read_safetensors(const std::filesystem::path& path,
                                               std::map<std::string, std::string>* metadata) {
  const SafetensorsFile file(path);
  if (metadata != nullptr) *metadata = file.metadata();
  std::map<std::string, Tensor> tensors;
  for (const auto& [key, entry] : file.entries()) tensors[key] = file.view(entry);
  return tensors;
}

}  // namespace eav
