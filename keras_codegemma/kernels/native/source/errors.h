// What a call is told of its arguments. Code in a header: for units that are compiled for no level alone.
#pragma once

#include <string>

#include "xla/ffi/api/ffi.h"

namespace codegemma {

inline xla::ffi::Error bad(const std::string& message) {
  return xla::ffi::Error::InvalidArgument("codegemma: " + message);
}

}  // namespace codegemma
