// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";
import {WithDtnAiUpgradeable} from "@deeptrust/contracts/with-dtn-ai-upgradeable.sol";
import {OwnableUpgradeable} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Fixture} from "../kit/Fixture.sol";
import {Consumer4, Proxy4} from "./oz4/Consumer4.sol";

interface IConsumer {
    function initialize(address newAi) external;
    function ai() external view returns (address);
    function onAnswer(bytes32 requestId) external;
    function heard() external view returns (bytes32);
}

/// @notice A consumer behind a proxy, made with OpenZeppelin 5 and with 4.9: asks, is called back, and by nobody else.
contract UpgradeableTest is Fixture {
    function test_OpenZeppelin5() external {
        Consumer5 implementation = new Consumer5();
        check(address(new ERC1967Proxy(address(implementation), initialization())));
    }

    function test_OpenZeppelin4() external {
        Consumer4 implementation = new Consumer4();
        check(address(new Proxy4(address(implementation), initialization())));
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function initialization() private view returns (bytes memory) {
        return abi.encodeCall(IConsumer.initialize, (address(ai)));
    }

    function check(address proxy) private {
        IConsumer consumer = IConsumer(proxy);
        vm.assertEq(consumer.ai(), address(ai));
        vm.expectRevert();
        consumer.initialize(thief.addr);
        uint256 sessionId = start(USD);
        vm.recordLogs();
        vm.prank(owner.addr);
        bytes32 id = ai.request(
            sessionId,
            modelId(),
            routing(IDtnAi.AggregationType.ANY, 1),
            question("?"),
            IDtnAi.CallBack(IConsumer.onAnswer.selector, IConsumer.onAnswer.selector, proxy),
            owner.addr,
            0
        );
        respond(publishedTerms(), success("ok"));
        vm.assertEq(consumer.heard(), id);
        vm.expectRevert(
            abi.encodeWithSelector(WithDtnAiUpgradeable.WithDtnAi_OnlyDtn.selector, thief.addr, address(ai))
        );
        vm.prank(thief.addr);
        consumer.onAnswer(id);
    }
}

contract Consumer5 is OwnableUpgradeable, WithDtnAiUpgradeable {
    bytes32 public heard;

    function initialize(address newAi) external initializer {
        __Ownable_init(msg.sender);
        __WithDtnAi_init(newAi);
    }

    function onAnswer(bytes32 requestId) external onlyDtn {
        heard = requestId;
    }
}
