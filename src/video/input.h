// A picture or video that FFmpeg reads.
#pragma once
#include <filesystem>
#include <memory>

#include "video/ffmpeg.h"

namespace eav::ffmpeg {

// The most pixels of a frame.
constexpr int64_t kMostPixels = int64_t{1} << 28;

// What people have and refers to no other file, without WebP (video/webp.h) and animated PNG, whose demuxer takes the
// memory that a file claims: of one its first picture is read. Names of FFmpeg's demuxers.
constexpr const char* kVideoFormats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm";
constexpr const char* kMediaFormats =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,yuv4mpegpipe,gif,png_pipe,jpeg_pipe,bmp_pipe,"
    "tiff_pipe,ppm_pipe,pgm_pipe,pbm_pipe,pam_pipe";

// One file, opened by its path alone, however FFmpeg would read the path ("concat:…", "frame_%03d.png"). What it holds
// is told by its content, not by its name. Playlists and other files that name files are refused, and should a format
// ask for another file all the same, it gets none.
class InputFile {
 public:
  // Throws eav::Error where it cannot be read, or is none of `formats`.
  InputFile(const std::filesystem::path& file, const char* formats);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // Reads until all is known of its streams.
  int find_stream_info();

  AVFormatContext* get() const { return context_.get(); }
  AVFormatContext* operator->() const { return context_.get(); }

 private:
  struct Bytes;
  std::unique_ptr<Bytes> bytes_;
  Input context_;
};

// A decoder for a stream of it. Throws eav::Error `otherwise` where there is none that may be used.
Encoder open_decoder(const AVStream& stream, const AVCodec& codec, const Error& otherwise);

}  // namespace eav::ffmpeg
