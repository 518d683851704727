#include "weights/tensor_file.h"

#include <c10/core/alignment.h>

#include "weights/mapped_file.h"

namespace eav {

std::optional<Packing> TensorEntry::packing() const {
  if (dtype == at::kFloat8_e4m3fn) return Packing::float8_e4m3;
  if (dtype == at::kFloat8_e5m2) return Packing::float8_e5m2;
  return blocks;
}

std::string TensorEntry::type_name() const {
  if (const auto packed = packing()) return layout_of(*packed).name;
  switch (dtype) {
    case at::kDouble:
      return "float64";
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kChar:
      return "int8";
    case at::kByte:
      return "uint8";
    default:
      return c10::toString(dtype);
  }
}

TensorEntry TensorEntry::row_slice(int64_t first, int64_t count) const {
  auto rows = *this;
  const auto bytes = (end - begin) / static_cast<size_t>(shape[0]);
  rows.shape[0] = count;
  rows.begin += bytes * static_cast<size_t>(first);
  rows.end = rows.begin + bytes * static_cast<size_t>(count);
  return rows;
}

std::vector<int64_t> TensorEntry::stored_shape() const {
  if (!blocks) return shape;
  const auto& layout = layout_of(*blocks);
  if (shape.empty() || shape.back() % layout.elements != 0) return {static_cast<int64_t>(end - begin)};
  auto bytes = shape;
  bytes.back() = bytes.back() / layout.elements * layout.bytes;
  return bytes;
}

TensorFile::TensorFile(const std::filesystem::path& path) : path_(path), mapping_(std::make_shared<MappedFile>(path)) {
  const auto bytes = mapping_->text();
  table_ = bytes.starts_with("GGUF") || path.extension() == ".gguf" ? read_gguf_table(path, bytes)
                                                                    : read_safetensors_table(path, bytes);
}

Tensor TensorFile::view(const Entry& entry, Use use) const {
  auto options = at::TensorOptions().dtype(entry.dtype);
  auto* data = mapping_->bytes() + entry.begin;
  // Formats promise little alignment. Kernels rely on the element's own, and matrix products may round otherwise
  // without that of an allocated tensor: the same weights must give the same bits wherever they lie in a file.
  const auto alignment = use == Use::computing && !entry.packing() ? c10::gAlignment : c10::elementSize(entry.dtype);
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    auto aligned = at::empty(entry.stored_shape(), options);
    copy(entry, aligned.data_ptr());
    return aligned;
  }
  return at::from_blob(data, entry.stored_shape(), [keep = mapping_](void*) {}, options);
}

void TensorFile::copy(const Entry& entry, void* to) const { mapping_->copy(entry.begin, entry.end, to); }
void TensorFile::read_ahead(const Entry& entry) const { mapping_->read_ahead(entry.begin, entry.end); }
void TensorFile::forget(const Entry& entry) const { mapping_->forget(entry.begin, entry.end); }
void TensorFile::check_whole() const { mapping_->check_whole(); }

}  // namespace eav
