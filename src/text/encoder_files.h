// Encoders of text and pictures in single files, as ComfyUI and others keep them: what one is follows from its keys,
// and what is set from shapes and from what was published.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "eav/generator.h"
#include "text/tokenizer.h"
#include "weights/file_table.h"
#include "weights/part.h"

namespace eav {

// A part that was found in a file.
struct FilePart {
  PartSource source;
  std::string what;  // "UMT5-XXL"
};

// Each nothing where the file has none. Throws eav::Error where it has one that lacks a tensor.
std::optional<FilePart> t5_in(const FileTable& file);           // T5 and UMT5
std::optional<FilePart> clip_text_in(const FileTable& file);    // CLIP-L
std::optional<FilePart> llama_in(const FileTable& file);        // the LLaMA of a LLaVA
std::optional<FilePart> clip_vision_in(const FileTable& file);  // ViT-H, or a LLaVA's with its projector
// A LLaVA of a LLaMA and the tower that was found with its projector. `image_token` is the id of a picture's place.
PartSource llava_of(const PartSource& llama, const PartSource& tower, int64_t image_token);
// How pictures are made ready for a tower (preprocessor_config.json).
JsonFile image_processor_of(const PartSource& tower, int64_t image_size);

// A part that a model needs beside its transformer.
struct Need {
  std::string option, what, example;  // "vae", "VAE of Wan 2.1", "wan_2.1_vae.safetensors"
  // Nothing where a file has none that fits; unset for what is no file of weights.
  std::function<std::optional<FilePart>(const FileTable&)> find{};
  std::string only_if{};     // "where it is Wan 2.2's"
  std::string in_comfyui{};  // the folder of ComfyUI's program that is one
};

// The part in the file or folder that a user gives for it, or in the model's own file. A folder with a configuration is
// taken as `of_folder` does it. Throws eav::Error where the part is there twice or not at all.
FilePart find_part(const std::filesystem::path& given, const FileTable& model, const Need& need,
                   const std::function<PartSource(const std::filesystem::path&)>& of_folder);

// A text encoder T5 or UMT5, and its tokenizer: in the folder `paths.tokenizer` or that of the encoder, in the header
// of a GGUF file, or of UMT5 in the tensor "spiece_model". Throws eav::Error as find_part() does.
struct T5Source {
  PartSource encoder;
  std::function<Tokenizer()> open_tokenizer;
};
T5Source find_t5(const ModelPaths& paths, const FileTable& model, bool umt5);

// The SentencePiece model beside or in a text encoder's file or folder, for files that hold both: the bytes of its
// spiece.model, and what a GGUF file's header tells of it, under llama.cpp's keys. Nothing where there is none.
inline constexpr const char* kSentencePiece = "spiece_model";  // a tensor: the bytes
std::optional<std::string> spiece_model_of(const std::filesystem::path& encoder, const ModelPaths& paths);
std::map<std::string, GgufValue> gguf_tokenizer_of(const std::filesystem::path& encoder, const ModelPaths& paths);
Need need_of_t5(bool umt5);

// The table of a file, or of the weights in a folder of the original program, that is given for `option`. Throws
// eav::Error where it holds pickled objects: `instead` is a file to take in its place.
FileTable open_table(const std::filesystem::path& file, const std::string& option, const std::string& instead);

}  // namespace eav
