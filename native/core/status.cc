#include "core/status.h"

namespace resnet {

const char* codeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kAborted:
      return "ABORTED";
#define RESNET_NAME_CODE(name, text) \
  case Code::name:                   \
    return text;
      RESNET_STATUS_CODES(RESNET_NAME_CODE)
#undef RESNET_NAME_CODE
  }
  return "ERR_RESNET_INTERNAL";
}

}  // namespace resnet
