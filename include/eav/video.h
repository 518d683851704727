// Writes frames as a video (.mp4, .webm, .gif) or as a folder of PNG pictures, and reads videos and pictures.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>

#include "eav/files.h"
#include "eav/progress.h"

namespace [[gnu::visibility("default")]] eav {

// What an output path asks for.
enum class OutputKind {
  mp4,     // H.264 4:2:0, plays everywhere; odd sizes grow by one pixel (the last row or column twice)
  webm,    // VP9 4:2:0
  gif,     // 255 colours chosen for the whole video, dithered; at most 50 frames a second are kept
  frames,  // frame_00000.png, frame_00001.png, … in a folder; exact
};

// The kind by suffix, in any case; a path that ends in '/' or is a folder gets frames. Throws eav::Error on another
// suffix.
OutputKind output_kind(const std::filesystem::path& out);

// Throws eav::Error when write_video(out, …) could not succeed: the kind is unknown or has no encoder in this FFmpeg,
// the folder is missing or takes no files, or, without `overwrite`, the output exists (a folder: is not empty). Leaves
// nothing behind. To be called before long work.
void check_output(const std::filesystem::path& out, bool overwrite);

// Writes `frames` (uint8 [F, H, W, 3], CPU, RGB) at `fps`, which may be fractional (23.976 is taken as 24000/1001).
// `metadata`, unless empty, is stored in the "comment" tag of .mp4 and .webm; GIF and PNG carry none.
//
// The output appears when it is complete: all is written under a temporary name in the same folder, then renamed. What
// was there is replaced; of a folder only its frame_*.png. After an exception (eav::Error, or Cancelled from
// `progress`, asked once a frame) nothing new is left. The same frames give the same bytes, on any number of cores.
void write_video(const std::filesystem::path& out, const at::Tensor& frames, double fps, const std::string& metadata,
                 const Progress& progress = Progress());
// The same, as a file or folder that appears when it is finished.
Temporary prepare_video(const std::filesystem::path& out, const at::Tensor& frames, double fps,
                        const std::string& metadata, const Progress& progress = Progress());

// Writes one picture (uint8 [H, W, 3], CPU, RGB) as PNG, like write_video.
void write_picture(const std::filesystem::path& out, const at::Tensor& picture);

// The frames of a video or picture, one after the other: uint8 [H, W, 3] on the CPU, RGB, upright (a rotation that the
// file asks for is done), without transparency (the colours below it are kept). PNG, JPEG, WebP, GIF, BMP, TIFF, PPM,
// MP4, MOV, Matroska, WebM, AVI, MPEG-TS and Y4M are read, as the content says, whatever the name; of at most 2^28
// pixels a frame. Of an animated PNG the first picture is read; animated WebP is refused. No other file is opened,
// whatever this one refers to.
class VideoReader {
 public:
  // Throws eav::Error that names the file when it cannot be read, or is neither video nor picture.
  explicit VideoReader(const std::filesystem::path& file);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  // The next frame; undefined after the last. Throws eav::Error that names the file when it is damaged.
  at::Tensor next();

 private:
  struct [[gnu::visibility("hidden")]] State;
  std::unique_ptr<State> state_;
};

// All frames, or the first `most`, as VideoReader gives them: [F, H, W, 3].
at::Tensor read_frames(const std::filesystem::path& file, int64_t most = 0);

// The version of the FFmpeg that writes and reads.
std::string ffmpeg_version();

// The "comment" tag of a .mp4 or .webm, "" where it has none. Throws eav::Error for any other file.
std::string read_metadata(const std::filesystem::path& video);

}  // namespace eav
