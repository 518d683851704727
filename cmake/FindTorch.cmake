# PyTorch's C++ libraries by path: from the Python package in .venv, or from a package or libtorch folder in
# CMAKE_PREFIX_PATH. The CMake files that come with PyTorch are not used, since those of a CUDA build demand the CUDA
# toolkit, of which nothing here has need. Defines:
#   TORCH_LIBRARIES  ATen's and, in a CUDA build, CUDA's libraries, with their headers
#   TORCH_ROOT       the folder that holds its lib and include
#   TORCH_VERSION    such as 2.13.0
#   TORCH_OPENMP     the OpenMP runtime that they use: a process should have one
file(GLOB TORCH_HINTS ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
foreach(prefix ${CMAKE_PREFIX_PATH})
  list(PREPEND TORCH_HINTS ${prefix} ${prefix}/../..)  # the second: as torch.utils.cmake_prefix_path names it
endforeach()
find_path(TORCH_INCLUDE_DIR ATen/ATen.h HINTS ${TORCH_HINTS} PATH_SUFFIXES include)
find_library(TORCH_CPU_LIBRARY torch_cpu HINTS ${TORCH_HINTS} PATH_SUFFIXES lib)

# Older ones have it in the second of these files.
file(GLOB TORCH_VERSION_FILES ${TORCH_INCLUDE_DIR}/torch/headeronly/version.h
                              ${TORCH_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h)
set(TORCH_VERSION "")
foreach(file IN LISTS TORCH_VERSION_FILES)
  file(STRINGS ${file} numbers REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
  string(REGEX REPLACE "[^;0-9]" "" numbers "${numbers}")
  list(APPEND TORCH_VERSION ${numbers})
endforeach()
list(JOIN TORCH_VERSION . TORCH_VERSION)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Torch REQUIRED_VARS TORCH_CPU_LIBRARY TORCH_INCLUDE_DIR VERSION_VAR TORCH_VERSION)
mark_as_advanced(TORCH_INCLUDE_DIR TORCH_CPU_LIBRARY)

get_filename_component(TORCH_LIB_DIR ${TORCH_CPU_LIBRARY} DIRECTORY)
get_filename_component(TORCH_ROOT ${TORCH_LIB_DIR} DIRECTORY)
if(NOT TARGET Torch)
  add_library(Torch INTERFACE IMPORTED)
  target_include_directories(Torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIR} ${TORCH_INCLUDE_DIR}/torch/csrc/api/include)
  # libtorch.so has nothing of its own; it brings libtorch_cuda.so, which registers itself, where there is one. What that
  # needs in turn is found when the program starts.
  target_link_libraries(Torch INTERFACE -Wl,--no-as-needed ${TORCH_LIB_DIR}/libtorch.so -Wl,--as-needed
                                        ${TORCH_CPU_LIBRARY} ${TORCH_LIB_DIR}/libc10.so)
  target_link_options(Torch INTERFACE -Wl,--allow-shlib-undefined)
endif()
set(TORCH_LIBRARIES Torch)

file(GLOB TORCH_OPENMP ${TORCH_LIB_DIR}/libgomp*.so* ${TORCH_LIB_DIR}/../../torch.libs/libgomp*.so*)
if(TORCH_OPENMP)
  list(GET TORCH_OPENMP 0 TORCH_OPENMP)
else()
  set(TORCH_OPENMP gomp)  # a PyTorch that uses the system's
endif()
