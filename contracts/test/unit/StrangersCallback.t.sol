// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {MockDtnAi} from "@deeptrust/contracts/mock-dtn-ai.sol";
import {WithDtnAi} from "@deeptrust/contracts/with-dtn-ai.sol";
import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";

import {Test} from "../kit/Test.sol";
import {TokenMock} from "../kit/Tokens.sol";

/// @notice What `onlyDtn` warns of: a stranger's request with somebody else's contract as target, with and without the
/// three lines of its warning.
contract StrangersCallbackTest is Test {
    MockDtnAi private mock;
    Keeper private careful;
    Trusting private trusting;
    Keeper private stranger;

    function setUp() external {
        TokenMock token = new TokenMock(6);
        mock = new MockDtnAi(address(token));
        mock.offerModel("gpt-4", 10, 20, 1_000, 3);
        careful = new Keeper(address(mock));
        trusting = new Trusting(address(mock));
        stranger = new Keeper(address(mock));
        Asker[3] memory all = [Asker(careful), trusting, stranger];
        for (uint256 i; i < all.length; ++i) {
            token.mint(address(all[i]), 1e6);
            all[i].start();
        }
    }

    function test_WhenAStrangerNamesAContractThatChecks() external {
        mock.answer(stranger.askFor(careful, "Is it theirs?"), "A stranger's text.");
        vm.assertEq(careful.heard(), "");
        mock.answer(careful.askFor(careful, "Is it mine?"), "Mine.");
        vm.assertEq(careful.heard(), "Mine.");
    }

    function test_WhenAStrangerNamesAContractThatDoesNot() external {
        mock.answer(stranger.askFor(trusting, "Is it theirs?"), "A stranger's text.");
        vm.assertEq(trusting.heard(), "A stranger's text.");
    }
}

abstract contract Asker is WithDtnAi {
    bytes public heard;
    uint256 private sessionId;

    constructor(address newAi) {
        setAi(newAi);
    }

    function start() external {
        TokenMock token = TokenMock(ai.feeToken());
        token.approve(address(ai), type(uint256).max);
        sessionId = ai.startUserSession(token.balanceOf(address(this)));
    }

    function onAnswer(bytes32 requestId) external virtual;

    function _ask(Asker target, string memory question) internal returns (bytes32) {
        return ai.request(
            sessionId,
            ai.modelId("gpt-4"),
            DtnDefaults.defaultRoutingSystemValidatedAny(),
            IDtnAi.DtnRequest(abi.encode(DtnDefaults.singleArray(question)), "", IDtnAi.CallType.DIRECT, 10, 20, 1_000),
            IDtnAi.CallBack(this.onAnswer.selector, this.onAnswer.selector, address(target)),
            address(this),
            1_000_000
        );
    }

    function _hear(bytes32 requestId) internal {
        (,, heard) = ai.fetchResponse(requestId);
    }
}

contract Keeper is Asker {
    mapping(bytes32 => bool) private asked;

    constructor(address newAi) Asker(newAi) {}

    function askFor(Asker target, string memory question) external returns (bytes32 requestId) {
        asked[requestId = _ask(target, question)] = true;
    }

    function onAnswer(bytes32 requestId) external override onlyDtn {
        require(asked[requestId]); delete asked[requestId];
        _hear(requestId);
    }
}

contract Trusting is Asker {
    constructor(address newAi) Asker(newAi) {}

    function onAnswer(bytes32 requestId) external override onlyDtn {
        _hear(requestId);
    }
}
