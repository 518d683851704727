#include "weights/safetensors.h"

#include <c10/core/alignment.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/lfs.h"
#include "base/regular_file.h"
#include "eav/error.h"
#include "eav/files.h"

namespace eav {
namespace {

// The largest header that the format's own library accepts.
constexpr uint64_t kMaxHeader = 100'000'000;

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};
constexpr std::array kDtypes{
    DtypeName{"F64", at::kDouble},
    DtypeName{"F32", at::kFloat},
    DtypeName{"F16", at::kHalf},
    DtypeName{"BF16", at::kBFloat16},
    DtypeName{"I64", at::kLong},
    DtypeName{"I32", at::kInt},
    DtypeName{"I16", at::kShort},
    DtypeName{"I8", at::kChar},
    DtypeName{"U8", at::kByte},
    DtypeName{"BOOL", at::kBool},
    DtypeName{"F8_E4M3", at::kFloat8_e4m3fn},
    DtypeName{"F8_E5M2", at::kFloat8_e5m2},
};

}  // namespace

// A whole file, mapped read only. Private and writable pages are asked for, so that a tensor over them is an ordinary
// one; nothing is ever written to the file.
class SafetensorsFile::Mapping {
 public:
  explicit Mapping(const std::filesystem::path& path) {
    const RegularFile file(path);
    size_ = static_cast<size_t>(file.size());
    struct stat found{};
    ::fstat(file.descriptor(), &found);
    device_ = found.st_dev;
    inode_ = found.st_ino;
    if (size_ > 0)
      data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor(), 0);
    if (size_ == 0) throw Error(fmt::format("{}: is no safetensors file: it is empty", path.string()));
    if (data_ == MAP_FAILED) throw Error(fmt::format("{}: cannot be mapped into memory", path.string()));
  }
  ~Mapping() { ::munmap(data_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  uint8_t* bytes() const { return static_cast<uint8_t*>(data_); }
  size_t size() const { return size_; }
  // Whether `path` is this very file, and shorter than it was.
  bool is_cut(const std::filesystem::path& path) const {
    struct stat now{};
    return ::stat(path.c_str(), &now) == 0 && now.st_dev == device_ && now.st_ino == inode_ &&
           static_cast<size_t>(now.st_size) < size_;
  }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), mapping_(std::make_shared<Mapping>(path)) {
  const auto fail = [&](const std::string& what) {
    return Error(fmt::format("{}: is no valid safetensors file: {}", path.string(), what));
  };
  refuse_lfs_pointer(path, {reinterpret_cast<const char*>(mapping_->bytes()), mapping_->size()});
  uint64_t header_size = 0;
  if (mapping_->size() < sizeof header_size) throw fail("it is shorter than its header's length field");
  std::memcpy(&header_size, mapping_->bytes(), sizeof header_size);
  if (header_size > kMaxHeader) throw fail(fmt::format("its header claims {} bytes, more than allowed", header_size));
  const size_t data_begin = sizeof header_size + header_size;
  if (data_begin > mapping_->size())
    throw fail(fmt::format("truncated: its header takes {} bytes, the file has {}", data_begin, mapping_->size()));

  const auto* text = reinterpret_cast<const char*>(mapping_->bytes()) + sizeof header_size;
  const auto header = parse_json({text, header_size});
  if (!header.is_object()) throw fail("its header is no JSON object");

  std::vector<std::pair<std::array<uint64_t, 2>, std::string>> spans;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) throw fail("__metadata__ is no JSON object");
      for (const auto& [name, entry] : value.items())
        if (entry.is_string()) metadata_[name] = entry.get<std::string>();
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
    const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.name == name; });
    if (dtype == kDtypes.end()) throw bad(fmt::format("has the unknown dtype {}", name));

    uint64_t bytes = c10::elementSize(dtype->dtype), most = bytes;  // `most`: if no length were 0
    std::vector<int64_t> shape;
    for (const auto& length : value["shape"]) {
      const auto n = length.get<uint64_t>();
      if (n > 0 && most > std::numeric_limits<int64_t>::max() / n) throw bad("has an impossible shape");
      most *= std::max<uint64_t>(n, 1);
      bytes *= n;
      shape.push_back(static_cast<int64_t>(n));
    }
    const std::array<uint64_t, 2> span{value["data_offsets"][0].get<uint64_t>(),
                                       value["data_offsets"][1].get<uint64_t>()};
    if (span[0] > span[1] || span[1] > mapping_->size() - data_begin)
      throw bad(fmt::format("lies at bytes {} to {}, outside the file's {} bytes of data (truncated?)", span[0],
                            span[1], mapping_->size() - data_begin));
    if (span[1] - span[0] != bytes)
      throw bad(fmt::format("has {} bytes where its shape needs {}", span[1] - span[0], bytes));
    entries_[key] = {dtype->dtype, std::move(shape), data_begin + span[0], data_begin + span[1]};
    spans.emplace_back(span, key);
  }

  std::sort(spans.begin(), spans.end());
  uint64_t end = 0;
  for (const auto& [span, key] : spans) {
    if (span[0] < end) throw fail(fmt::format("tensor \"{}\" overlaps the one before it", key));
    if (span[0] > end) throw fail(fmt::format("there is a hole of {} bytes before tensor \"{}\"", span[0] - end, key));
    end = span[1];
  }
  if (end != mapping_->size() - data_begin)
    throw fail(
        fmt::format("it has {} bytes of data where its header describes {}", mapping_->size() - data_begin, end));
}

Tensor SafetensorsFile::view(const Entry& entry, Use use) const {
  auto options = at::TensorOptions().dtype(entry.dtype);
  auto* data = mapping_->bytes() + entry.begin;
  // The format promises no alignment. Kernels rely on the element's own, and matrix products may round otherwise
  // without that of an allocated tensor: the same weights must give the same bits wherever they lie in a file.
  const auto alignment = use == Use::computing ? c10::gAlignment : c10::elementSize(entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    auto aligned = at::empty(entry.shape, options);
    copy(entry, aligned.data_ptr());
    return aligned;
  }
  return at::from_blob(data, entry.shape, [keep = mapping_](void*) {}, options);
}

// Piece by piece, so that the file's pages are not in memory beside the copy.
void SafetensorsFile::copy(const Entry& entry, void* to) const {
  constexpr size_t kPiece = 1 << 20;
  for (size_t begin = entry.begin, end; begin < entry.end; begin = end) {
    end = std::min((begin / kPiece + 1) * kPiece, entry.end);
    std::memcpy(static_cast<std::byte*>(to) + (begin - entry.begin), mapping_->bytes() + begin, end - begin);
    forget(begin, end);
  }
}

void SafetensorsFile::read_ahead(const Entry& entry) const {
  constexpr size_t kPage = 4096;  // or a multiple of it
  const auto begin = entry.begin / kPage * kPage;
  if (::madvise(mapping_->bytes() + begin, entry.end - begin, MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
  // A system before Linux 5.14.
  const volatile uint8_t* bytes = mapping_->bytes();
  for (auto at = begin; at < entry.end; at += kPage) static_cast<void>(bytes[at]);
}

void SafetensorsFile::check_whole() const {
  if (mapping_->is_cut(path_))
    throw Error(fmt::format("{}: cannot be read any more: the file was cut short while it was in use", path_.string()));
}

void SafetensorsFile::forget(const Entry& entry) const { forget(entry.begin, entry.end); }

void SafetensorsFile::forget(size_t begin, size_t end) const {
  constexpr size_t kWindow = 64 << 10;  // that the system maps around a page which is read; a multiple of its pages
  begin = begin / kWindow * kWindow, end = std::min((end + kWindow - 1) / kWindow * kWindow, mapping_->size());
  ::madvise(mapping_->bytes() + begin, end - begin, MADV_DONTNEED);
}

Temporary prepare_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::vector<Tensor> data;
  size_t offset = 0;
  for (const auto& [key, tensor] : tensors) {
    data.push_back(tensor.to(at::kCPU).contiguous());
    const auto dtype =
        std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.dtype == tensor.scalar_type(); });
    if (dtype == kDtypes.end()) throw Error(fmt::format("{}: cannot save the type of \"{}\"", path.string(), key));
    const size_t bytes = data.back().nbytes();
    header[key] = {{"dtype", dtype->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + bytes}}};
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
